// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/monitor/server_testing.h"

#include <arpa/inet.h>
#include <cstdlib>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace drover::testing {
namespace {

using Kind = MonitorEndpoint::Kind;

class MonitorEndpointTest : public QmpServerTest {
protected:
    MonitorEndpointTest()
    {
        EXPECT_NE(mkdtemp(directory_), nullptr);
        path = std::string(directory_) + "/qmp";
    }
    ~MonitorEndpointTest() override
    {
        unlink(path.c_str());
        rmdir(directory_);
    }

    static sockaddr_un address_of(const std::string& path)
    {
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        return address;
    }

    static UniqueFd connect_unix(const std::string& path)
    {
        UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_un address = address_of(path);
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                  0);
        return fd;
    }

    static UniqueFd listen_unix(const std::string& path)
    {
        UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_un address = address_of(path);
        EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(fd.get(), 4), 0);
        return fd;
    }

    /// On a free port of 127.0.0.1, which is stored.
    static UniqueFd listen_tcp(std::string& port)
    {
        UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
        EXPECT_EQ(::listen(fd.get(), 4), 0);
        EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
        port = std::to_string(ntohs(address.sin_port));
        return fd;
    }

    static UniqueFd connect_tcp(const std::string& port)
    {
        UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<uint16_t>(std::stoi(port)));
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                  0);
        return fd;
    }

    /// A client of ours that connects to `listening`, once it does.
    static LineClient accept_on(const UniqueFd& listening)
    {
        bool ready = false;
        const auto source =
            loop::watch(listening.get(), G_IO_IN, [&](GIOCondition) { ready = true; });
        EXPECT_TRUE(run_until([&] { return ready; }));
        return LineClient(UniqueFd(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }

    std::string path;

private:
    char directory_[32] = "/tmp/drover-test-XXXXXX";
};

TEST_F(MonitorEndpointTest, UnixListenServesOneClientAfterTheOther)
{
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::UnixListen, .path = path}));
    auto first = std::make_unique<LineClient>(connect_unix(path));
    first->negotiate();
    LineClient second(connect_unix(path));
    run_pending();
    EXPECT_FALSE(second.has_line());
    first.reset();
    second.negotiate();
    EXPECT_EQ(handler.gone.size(), 1U);
}

TEST_F(MonitorEndpointTest, UnixPathIsUnlinkedAtTheEnd)
{
    {
        QmpServer shorter(Json::object(), handler);
        ASSERT_TRUE(add_monitor(shorter, {.kind = Kind::UnixListen, .path = path}));
        EXPECT_EQ(access(path.c_str(), F_OK), 0);
    }
    EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST_F(MonitorEndpointTest, SomeoneElsesUnixPathIsNotUnlinked)
{
    UniqueFd other;
    {
        QmpServer shorter(Json::object(), handler);
        ASSERT_TRUE(add_monitor(shorter, {.kind = Kind::UnixListen, .path = path}));
        unlink(path.c_str());
        other = listen_unix(path);
    }
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
}

TEST_F(MonitorEndpointTest, StaleUnixSocketIsReplaced)
{
    listen_unix(path).reset();
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::UnixListen, .path = path}));
    LineClient(connect_unix(path)).negotiate();
}

TEST_F(MonitorEndpointTest, UnixSocketInUseIsNotTaken)
{
    const UniqueFd other = listen_unix(path);
    const Status added = add_monitor(server, {.kind = Kind::UnixListen, .path = path});
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().text(), "QMP monitor: another program listens on " + path +
                                        " (end it or choose another path)");
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
}

/// A guest that is started again at once: the companion of the one before has not closed it yet.
TEST_F(MonitorEndpointTest, UnixSocketWhoseListenerHasEndedIsTaken)
{
    const UniqueFd held(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(path);
    ASSERT_EQ(bind(held.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const pid_t listener = fork();
    if (listener == 0)
        _exit(::listen(held.get(), 4));
    int status = -1;
    ASSERT_EQ(waitpid(listener, &status, 0), listener);
    ASSERT_EQ(status, 0);
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::UnixListen, .path = path}));
    LineClient(connect_unix(path)).negotiate();
}

TEST_F(MonitorEndpointTest, OtherFileIsNotReplaced)
{
    UniqueFd(open(path.c_str(), O_CREAT | O_WRONLY, 0600)).reset();
    const Status added = add_monitor(server, {.kind = Kind::UnixListen, .path = path});
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().text(), "QMP monitor: " + path +
                                        " exists and is not a socket (remove it or choose "
                                        "another path)");
}

TEST_F(MonitorEndpointTest, UnusableEndpointsSayWhy)
{
    const auto error = [&](const MonitorEndpoint& endpoint) {
        const Status added = add_monitor(server, endpoint);
        return added ? "" : added.error().text();
    };
    EXPECT_NE(error({.kind = Kind::UnixListen, .path = std::string(108, 'x')}).find("107 bytes"),
              std::string::npos);
    EXPECT_NE(error({.kind = Kind::UnixConnect, .path = path}).find("unix:" + path),
              std::string::npos);
    EXPECT_NE(error({.kind = Kind::TcpConnect, .host = "127.0.0.1", .port = "x"}).find("a port"),
              std::string::npos);
    auto pair = socket_pair();
    MonitorEndpoint endpoint{.kind = Kind::ListenFd};
    endpoint.fd = pair->first.release();
    EXPECT_NE(error(endpoint).find("is not a listening socket"), std::string::npos);
}

TEST_F(MonitorEndpointTest, InheritedListeningSocket)
{
    std::string port;
    UniqueFd listening = listen_tcp(port);
    MonitorEndpoint endpoint{.kind = Kind::ListenFd};
    endpoint.fd = listening.release();
    ASSERT_TRUE(add_monitor(server, endpoint));
    LineClient(connect_tcp(port)).negotiate();
    LineClient(connect_tcp(port)).negotiate();
}

TEST_F(MonitorEndpointTest, TcpListen)
{
    std::string port;
    listen_tcp(port).reset(); // finds a free one
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::TcpListen, .host = "127.0.0.1", .port = port}));
    LineClient(connect_tcp(port)).negotiate();
}

TEST_F(MonitorEndpointTest, ConnectsToTcpAndUnix)
{
    std::string port;
    const UniqueFd tcp = listen_tcp(port);
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::TcpConnect, .host = "127.0.0.1", .port = port}));
    accept_on(tcp).negotiate();
    const UniqueFd local = listen_unix(path);
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::UnixConnect, .path = path}));
    accept_on(local).negotiate();
}

TEST_F(MonitorEndpointTest, ReconnectsUntilSomebodyListensAndAfterALoss)
{
    MonitorEndpoint endpoint{.kind = Kind::UnixConnect, .path = path};
    endpoint.reconnect_s = 1;
    ASSERT_TRUE(add_monitor(server, endpoint));
    run_pending();
    const UniqueFd listening = listen_unix(path);
    accept_on(listening).negotiate();
    accept_on(listening).negotiate();
}

TEST_F(MonitorEndpointTest, WaitsForTheAwaitedClients)
{
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::UnixListen, .path = path, .wait = true}));
    bool came = false;
    server.when_awaited_clients_came([&] { came = true; });
    run_pending();
    EXPECT_FALSE(came);
    const UniqueFd client = connect_unix(path);
    EXPECT_TRUE(run_until([&] { return came; }));
}

TEST_F(MonitorEndpointTest, NobodyAwaitedMeansAtOnce)
{
    ASSERT_TRUE(add_monitor(server, {.kind = Kind::UnixListen, .path = path}));
    bool came = false;
    server.when_awaited_clients_came([&] { came = true; });
    EXPECT_TRUE(run_until([&] { return came; }));
}

/// Puts `fd` in the place of `number` for a while.
class Redirected {
public:
    Redirected(int number, int fd) : number_(number), saved_(dup(number)) { dup2(fd, number); }
    ~Redirected()
    {
        dup2(saved_, number_);
        close(saved_);
    }
    Redirected(const Redirected&) = delete;
    Redirected& operator=(const Redirected&) = delete;

private:
    int number_;
    int saved_;
};

TEST_F(MonitorEndpointTest, StdioAnswersAllThatWasPipedIn)
{
    int input[2];
    ASSERT_EQ(pipe2(input, O_CLOEXEC), 0);
    const UniqueFd input_end(input[0]);
    const std::string text = R"({"execute":"qmp_capabilities"}{"execute":"later","id":5})";
    ASSERT_EQ(write(input[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(input[1]);
    auto output = socket_pair();
    {
        const Redirected in(STDIN_FILENO, input[0]);
        const Redirected out(STDOUT_FILENO, output->second.get());
        ASSERT_TRUE(add_monitor(server, {.kind = Kind::Stdio}));
    }
    LineClient reader(std::move(output->first));
    EXPECT_TRUE(reader.next().contains("QMP"));
    EXPECT_TRUE(reader.next().contains("return"));
    ASSERT_TRUE(run_until([&] { return handler.waiting.size() == 1; }));
    run_pending();
    handler.finish_one();
    EXPECT_EQ(reader.next()["id"], 5);
}

} // namespace
} // namespace drover::testing
