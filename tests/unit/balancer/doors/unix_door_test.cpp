// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/balancer/doors/door_testing.h"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace drover::balancer::testing {
namespace {

class UnixDoorTest : public DoorTest {
protected:
    std::string open(mode_t mode = 0660, const std::string& group = {}, DoorLimits limits = {})
    {
        open_server(limits);
        const auto address = server->add({.address = "unix:" + path, .mode = mode, .group = group});
        EXPECT_TRUE(address) << address.error().text();
        return address.value_or("");
    }

    static UniqueFd knock(const std::string& address)
    {
        auto fd = dial(address, nullptr);
        EXPECT_TRUE(fd) << fd.error().text();
        return fd ? std::move(*fd) : UniqueFd();
    }
    static LineClient enter(const std::string& address) { return LineClient(knock(address)); }

    TemporaryDirectory directory;
    std::string path = directory / "door.sock";
};

TEST_F(UnixDoorTest, OurOwnUserAdministers)
{
    LineClient client = enter(open());
    client.negotiate();
    const Json who = client.ask(R"({"execute":"who","id":1})");
    EXPECT_EQ(
        who,
        Json({{"id", 1},
              {"return", {{"name", "uid " + std::to_string(geteuid())}, {"role", "administer"}}}}));
    EXPECT_TRUE(client.ask(R"({"execute":"work"})").contains("return"));
}

TEST_F(UnixDoorTest, ACommandThatTakesLongHoldsUpNoOther)
{
    std::vector<QmpResponder> slow;
    table.add("slow", Role::Operate, {}, [&slow](const Json&, const Client&, QmpResponder respond) {
        slow.push_back(std::move(respond));
    });
    LineClient client = enter(open());
    client.negotiate();
    client.send(R"({"execute":"slow","id":1})");
    EXPECT_EQ(client.ask(R"({"execute":"work","id":2})")["id"], 2);
    ASSERT_EQ(slow.size(), 1U);
    client.send(R"({"execute":"slow"})"); // nobody could tell whose answer is whose
    client.send(R"({"execute":"work"})");
    ASSERT_TRUE(run_until([&slow] { return slow.size() == 2; }));
    slow[0](QmpResponse::ok(Json{{"late", true}}));
    EXPECT_EQ(client.next(), (Json{{"id", 1}, {"return", {{"late", true}}}}));
    EXPECT_EQ(worked, 1);
    slow[1](QmpResponse::ok());
    EXPECT_FALSE(client.next().contains("id"));
    EXPECT_FALSE(client.next().contains("id"));
    EXPECT_EQ(worked, 2);
}

TEST_F(UnixDoorTest, OthersObserve)
{
    if (geteuid() != 0)
        GTEST_SKIP() << "it takes root to connect as somebody else";
    std::filesystem::permissions(directory.path(), std::filesystem::perms(0755));
    open(0666);
    // The system call itself, unlike the C library's function, changes this thread alone.
    constexpr uid_t nobody = 65534, same = static_cast<uid_t>(-1);
    ASSERT_EQ(syscall(SYS_setresuid, same, nobody, same), 0);
    auto fd = connect_to_endpoint({.kind = MonitorEndpoint::Kind::UnixConnect, .path = path});
    ASSERT_EQ(syscall(SYS_setresuid, same, 0, same), 0);
    ASSERT_TRUE(fd) << fd.error().text();
    LineClient client(std::move(*fd));
    client.negotiate();
    EXPECT_EQ(client.ask(R"({"execute":"who"})")["return"],
              Json({{"name", "uid 65534"}, {"role", "observe"}}));
    EXPECT_EQ(error_of(client.ask(R"({"execute":"work"})")),
              "work takes the role 'operate', and uid 65534 has 'observe'");
    EXPECT_EQ(worked, 0);
}

TEST_F(UnixDoorTest, TheFileHasTheModeAndIsRemoved)
{
    const mode_t former = umask(0);
    open(0640, std::to_string(getegid()));
    EXPECT_EQ(umask(former), 0U) << "the process's umask is as before";
    struct stat status = {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0640U);
    EXPECT_EQ(status.st_gid, getegid());
    server.reset();
    EXPECT_NE(stat(path.c_str(), &status), 0);
}

TEST_F(UnixDoorTest, RefusesWhatItCannotOpen)
{
    open_server();
    const auto error = [&](const DoorOptions& options) {
        const auto address = server->add(options);
        return address ? "opened" : address.error().text();
    };
    EXPECT_NE(error({.address = "tcp:localhost:1"}).find("unix:PATH or tls:HOST:PORT"),
              std::string::npos);
    EXPECT_NE(error({.address = "unix:" + path, .group = "no-such-group"}).find("groupadd"),
              std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(path));
    std::ofstream(path) << "a file";
    EXPECT_NE(error({.address = "unix:" + path}).find("not a socket"), std::string::npos);
    EXPECT_NE(error({.address = "tls:127.0.0.1:0"}).find("certificates"), std::string::npos);
}

TEST_F(UnixDoorTest, ManyClientsAndEventsToAll)
{
    const std::string address = open();
    std::vector<std::unique_ptr<LineClient>> clients;
    for (int i = 0; i < 50; ++i) {
        clients.push_back(std::make_unique<LineClient>(knock(address)));
        clients.back()->negotiate();
    }
    LineClient deaf = enter(address); // has not negotiated
    EXPECT_TRUE(deaf.next().contains("QMP"));
    server->broadcast(make_event("PLAN", {{"id", "p1"}}));
    for (const auto& client : clients)
        EXPECT_EQ(client->next()["data"], Json({{"id", "p1"}}));
    run_pending();
    EXPECT_FALSE(deaf.has_line());
    EXPECT_EQ(server->clients(), 51U);
    clients.clear();
    EXPECT_TRUE(run_until([&] { return server->clients() == 1; }));
}

TEST_F(UnixDoorTest, ThePlacesAreLimited)
{
    // We administer here, so the reserved places are ours too.
    const std::string address = open(0660, {}, {.clients = 1, .reserved = 1});
    auto first = std::make_unique<LineClient>(knock(address));
    LineClient second = enter(address);
    first->negotiate();
    second.negotiate();
    LineClient third = enter(address);
    EXPECT_TRUE(third.wait_closed());
    EXPECT_FALSE(third.has_line());
    first.reset();
    ASSERT_TRUE(run_until([&] { return server->clients() == 1; }));
    LineClient fourth = enter(address);
    fourth.negotiate();
}

TEST_F(UnixDoorTest, AnAnswerAfterTheEndIsDropped)
{
    QmpResponder kept;
    table.add("slow", Role::Observe, {},
              [&](const Json&, const Client&, QmpResponder respond) { kept = std::move(respond); });
    LineClient client = enter(open());
    client.negotiate();
    client.send(R"({"execute":"slow"})");
    ASSERT_TRUE(run_until([&] { return kept != nullptr; }));
    server.reset();
    kept(QmpResponse::ok());
    EXPECT_TRUE(client.wait_closed());
}

TEST_F(UnixDoorTest, NobodyThere)
{
    const auto fd = dial("unix:" + path, nullptr);
    ASSERT_FALSE(fd);
    EXPECT_NE(fd.error().text().find(path), std::string::npos);
}

} // namespace
} // namespace drover::balancer::testing
