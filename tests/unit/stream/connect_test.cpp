// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/address.h"
#include "run_loop.h"

#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <sys/socket.h>

namespace drover {
namespace {

using namespace std::chrono_literals;

MigrationAddress at(std::string_view uri)
{
    return *MigrationAddress::parse(uri);
}

int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    getsockopt(fd, level, name, &value, &size);
    return value;
}

class ConnectTest : public testing::Test {
protected:
    void SetUp() override
    {
        std::string name = (std::filesystem::temp_directory_path() / "drover-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string path() const { return folder_ + "/socket"; }

    Status listen(const MigrationAddress& address)
    {
        auto listening = listen_on(address, [this](UniqueFd socket, std::string peer) {
            accepted_ = std::move(socket);
            peer_ = std::move(peer);
        });
        if (!listening)
            return pass(listening);
        listening_ = std::move(*listening);
        return {};
    }
    void connect(const MigrationAddress& address)
    {
        connecting_ = connect_to(address, [this](Result<UniqueFd> result) {
            connecting_.reset(); // as an owner would
            result_ = std::move(result);
        });
    }
    bool connected()
    {
        return run_until([&] { return result_.has_value() && accepted_; });
    }
    void expect_refused(std::string_view word)
    {
        ASSERT_TRUE(run_until([&] { return result_.has_value(); }));
        ASSERT_FALSE(*result_);
        EXPECT_EQ(result_->error().kind, ErrorKind::Connection);
        EXPECT_NE(result_->error().message.find(word), std::string::npos)
            << result_->error().message;
        EXPECT_FALSE(result_->error().hint.empty());
    }
    void expect_talking()
    {
        char byte = 'x';
        ASSERT_EQ(send((*result_)->get(), &byte, 1, 0), 1);
        ASSERT_EQ(recv(accepted_.get(), &byte, 1, 0), 1);
    }

    std::string folder_;
    std::unique_ptr<Listening> listening_;
    std::unique_ptr<Connecting> connecting_;
    std::optional<Result<UniqueFd>> result_;
    UniqueFd accepted_;
    std::string peer_;
};

TEST_F(ConnectTest, Tcp)
{
    ASSERT_TRUE(listen(at("tcp:127.0.0.1:0")));
    EXPECT_NE(listening_->address().port, "0");
    connect(listening_->address());
    EXPECT_FALSE(result_);
    ASSERT_TRUE(connected());
    ASSERT_TRUE(*result_) << result_->error().text();
    EXPECT_TRUE(peer_.starts_with("tcp:127.0.0.1:")) << peer_;
    for (const int fd : {(*result_)->get(), accepted_.get()}) {
        EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
        EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
        EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        EXPECT_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    expect_talking();
}

TEST_F(ConnectTest, EveryInterfaceTakesIpv4)
{
    ASSERT_TRUE(listen(at("tcp:0:0")));
    connect(at("tcp:127.0.0.1:" + listening_->address().port));
    ASSERT_TRUE(connected());
    ASSERT_TRUE(*result_) << result_->error().text();
    EXPECT_TRUE(peer_.starts_with("tcp:127.0.0.1:")) << peer_;
}

TEST_F(ConnectTest, NoHostConnectsToTheLoopback)
{
    ASSERT_TRUE(listen(at("tcp:localhost:0")));
    connect(at("tcp::" + listening_->address().port));
    ASSERT_TRUE(connected());
    EXPECT_TRUE(*result_);
}

TEST_F(ConnectTest, Unix)
{
    ASSERT_TRUE(listen(at("unix:" + path())));
    connect(listening_->address());
    ASSERT_TRUE(connected());
    ASSERT_TRUE(*result_) << result_->error().text();
    EXPECT_NE(peer_.find("process " + std::to_string(getpid())), std::string::npos) << peer_;
    expect_talking();
    listening_.reset();
    EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(ConnectTest, ThePathOfADeadProcessIsReplaced)
{
    ASSERT_TRUE(listen(at("unix:" + path())));
    std::filesystem::rename(path(), path() + "2"); // so that it is not removed with its socket
    listening_.reset();
    ASSERT_TRUE(std::filesystem::exists(path() + "2"));
    ASSERT_TRUE(listen(at("unix:" + path() + "2")));
    connect(listening_->address());
    ASSERT_TRUE(connected());
    EXPECT_TRUE(*result_);
}

TEST_F(ConnectTest, APathInUseIsLeftAlone)
{
    ASSERT_TRUE(listen(at("unix:" + path())));
    const auto second = listen_on(at("unix:" + path()), [](UniqueFd, std::string) {});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().text().find("another process uses it"), std::string::npos);
    EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(ConnectTest, APortInUse)
{
    ASSERT_TRUE(listen(at("tcp:127.0.0.1:0")));
    const auto second = listen_on(listening_->address(), [](UniqueFd, std::string) {});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().text().find("another process uses it"), std::string::npos);
}

TEST_F(ConnectTest, NobodyListens)
{
    ASSERT_TRUE(listen(at("tcp:127.0.0.1:0")));
    const auto address = listening_->address();
    listening_.reset();
    connect(address);
    expect_refused("cannot connect to " + address.text());
    result_.reset();
    connect(at("unix:" + path()));
    expect_refused("cannot connect to unix:");
}

TEST_F(ConnectTest, WhatIsNoAddress)
{
    connect(at("fd:3"));
    EXPECT_FALSE(result_);
    ASSERT_TRUE(run_until([&] { return result_.has_value(); }));
    EXPECT_EQ(result_->error().kind, ErrorKind::Invalid);
    EXPECT_FALSE(listen(at("fd:3")));
    EXPECT_FALSE(listen(at("unix:" + folder_ + "/no/such/folder")));
    EXPECT_FALSE(listen(at("tcp:[2001:db8::1]:0"))); // not an address of this host
}

TEST_F(ConnectTest, NobodyAnswersInTime)
{
    // A queue of one connection, never accepted: the kernel drops the next ones without a word.
    const UniqueFd deaf(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    auto* generic = reinterpret_cast<sockaddr*>(&name);
    ASSERT_EQ(bind(deaf.get(), generic, size), 0);
    ASSERT_EQ(::listen(deaf.get(), 0), 0);
    ASSERT_EQ(getsockname(deaf.get(), generic, &size), 0);
    const UniqueFd first(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(first.get(), generic, size), 0);

    connecting_ = connect_to(
        at("tcp:127.0.0.1:" + std::to_string(ntohs(name.sin_port))),
        [this](Result<UniqueFd> result) { result_ = std::move(result); }, 50ms);
    expect_refused("nobody answers");
    run_ready(); // GIO's own report of the cancelling comes too late to be heard
}

TEST_F(ConnectTest, DestroyingItCancels)
{
    ASSERT_TRUE(listen(at("unix:" + path())));
    connect(listening_->address());
    connecting_.reset();
    ASSERT_TRUE(listen(at("unix:" + path() + "2")));
    const auto other = connect_to(listening_->address(), [](Result<UniqueFd>) {});
    ASSERT_TRUE(run_until([&] { return bool(accepted_); }));
    run_ready();
    EXPECT_FALSE(result_);
}

TEST_F(ConnectTest, AcceptingMayEndTheListening)
{
    auto listening = listen_on(at("unix:" + path()), [this](UniqueFd socket, std::string) {
        accepted_ = std::move(socket);
        listening_.reset();
    });
    ASSERT_TRUE(listening);
    listening_ = std::move(*listening);
    connect(listening_->address());
    ASSERT_TRUE(connected());
    EXPECT_FALSE(listening_);
    EXPECT_FALSE(std::filesystem::exists(path()));
}

} // namespace
} // namespace drover
