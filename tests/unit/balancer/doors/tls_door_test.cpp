// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/address.h"
#include "contrib/balancer/doors/tls_handshake.h"
#include "contrib/balancer/doors/tls_pump.h"
#include "tests/unit/balancer/doors/door_testing.h"

#include <filesystem>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace drover::balancer::testing {
namespace {

using std::chrono::milliseconds;

class TlsDoorTest : public DoorTest {
protected:
    LineClient enter(const std::string& address, const std::string& name)
    {
        auto fd = dial_as(address, name);
        EXPECT_TRUE(fd) << fd.error().text();
        return LineClient(fd ? std::move(*fd) : UniqueFd());
    }

    Json who(const std::string& address, const std::string& name)
    {
        LineClient client = enter(address, name);
        client.negotiate();
        return client.ask(R"({"execute":"who"})");
    }

    static UniqueFd connect_tcp(const std::string& address)
    {
        auto fd = connect_to_endpoint(parse_door_address(address)->connecting());
        EXPECT_TRUE(fd) << fd.error().text();
        return fd ? std::move(*fd) : UniqueFd();
    }

    /// What Dialling would not do: a handshake with any certificate, or none. Whether it was let
    /// in: whether it is greeted.
    static bool let_in(const std::string& address, TlsMaterial material)
    {
        std::optional<Result<TlsPeer>> peer;
        const auto handshake = TlsHandshake::call(
            connect_tcp(address), "127.0.0.1", std::move(material), std::chrono::seconds(10),
            [&](Result<TlsPeer> result) { peer = std::move(result); });
        run_until([&] { return peer.has_value(); });
        if (!peer || !*peer)
            return false;
        auto fd = pump_tls(std::move((*peer)->connection));
        LineClient client(std::move(*fd));
        return !client.next().is_null();
    }

    static bool let_in(const std::string& address, const std::string& name)
    {
        auto material = certs().identity(name)->material();
        EXPECT_TRUE(material) << material.error().text();
        return let_in(address, std::move(*material));
    }
};

Json is(const char* name, const char* role)
{
    return {{"return", {{"name", name}, {"role", role}}}};
}

TEST_F(TlsDoorTest, TheCertificateGivesNameAndRole)
{
    const std::string address = open_tls();
    EXPECT_EQ(who(address, "olga"), is("olga", "observe"));
    EXPECT_EQ(who(address, "oscar"), is("oscar", "operate"));
    EXPECT_EQ(who(address, "anna"), is("anna", "administer"));
    EXPECT_EQ(who(address, "two"), is("two", "observe"));
}

TEST_F(TlsDoorTest, TooLowARoleIsToldInWords)
{
    const std::string address = open_tls();
    LineClient client = enter(address, "olga");
    client.negotiate();
    EXPECT_EQ(error_of(client.ask(R"({"execute":"work"})")),
              "work takes the role 'operate', and olga has 'observe'");
    LineClient host = enter(address, "node1");
    host.negotiate();
    EXPECT_NE(error_of(host.ask(R"({"execute":"who"})")).find("node1 has none"), std::string::npos);
    LineClient eve = enter(address, "eve");
    eve.negotiate();
    EXPECT_NE(error_of(eve.ask(R"({"execute":"who"})")).find("eve,OU=administer has none"),
              std::string::npos);
    EXPECT_EQ(worked, 0);
    server->broadcast(make_event("MODE", Json::object()));
    EXPECT_EQ(client.next()["event"], "MODE");
    run_pending();
    EXPECT_FALSE(eve.has_line()) << "events are for those who may observe";
}

TEST_F(TlsDoorTest, WhoIsNotLetIn)
{
    const std::string address = open_tls();
    auto nameless = certs().identity("olga")->material();
    nameless->certificate.reset();
    EXPECT_FALSE(let_in(address, std::move(*nameless))) << "without a certificate";
    for (const char* name : {"foreign/mallory", "late", "server-only", "no-purpose"})
        EXPECT_FALSE(let_in(address, name)) << name;
    EXPECT_TRUE(let_in(address, "olga")); // the test itself is able to get in
    EXPECT_EQ(worked, 0);
}

TEST_F(TlsDoorTest, ARefusalIsToldToTheClient)
{
    const std::string address = open_tls();
    EXPECT_NE(dial_error(address, "foreign/mallory").find("refused our certificate"),
              std::string::npos);
    EXPECT_NE(dial_error(address, "late").find("late.crt expired on"), std::string::npos);
}

TEST_F(TlsDoorTest, WhichServersAreNotBelieved)
{
    EXPECT_NE(dial_error(open_tls("foreign/rogue"), "anna").find("not of our fleet's authority"),
              std::string::npos);
    EXPECT_NE(dial_error(open_tls("elsewhere"), "anna").find("not for this host name"),
              std::string::npos);
    EXPECT_NE(dial_error(open_tls("late-host"), "anna").find("has expired"), std::string::npos);
    EXPECT_NE(dial_error(open_tls("person-host"), "anna").find("no purpose serverAuth"),
              std::string::npos);
}

TEST_F(TlsDoorTest, AHostIsKnownByNameAndByAddress)
{
    const std::string address = open_tls();
    const std::string by_name = "tls:localhost:" + parse_door_address(address)->port;
    EXPECT_EQ(who(by_name, "anna"), is("anna", "administer"));
    EXPECT_EQ(who(address, "anna"), is("anna", "administer"));
}

TEST_F(TlsDoorTest, SilentCallersDoNotBlockOthers)
{
    const std::string address = open_tls("node1", {.handshakes = 8, .patience = milliseconds(100)});
    std::vector<UniqueFd> silent;
    for (int i = 0; i < 16; ++i) {
        silent.push_back(connect_tcp(address));
        if (i % 2 == 0) { // half a ClientHello
            ASSERT_EQ(send(silent.back().get(), "\x16\x03\x01\x02", 4, 0), 4);
        }
    }
    EXPECT_EQ(who(address, "oscar"), is("oscar", "operate"));
}

TEST_F(TlsDoorTest, AHandshakeHasALimit)
{
    const std::string address = open_tls("node1", {.handshake = milliseconds(100)});
    LineClient silent(connect_tcp(address));
    LineClient halting(connect_tcp(address));
    halting.send(std::string("\x16\x03\x01\x02", 4));
    EXPECT_TRUE(silent.wait_closed());
    EXPECT_TRUE(halting.wait_closed());
}

TEST_F(TlsDoorTest, GarbageIsTurnedAway)
{
    const std::string address = open_tls();
    for (const std::string& garbage :
         {std::string("GET / HTTP/1.0\r\n\r\n"), std::string("{\"execute\":\"who\"}\n"),
          std::string(4096, '\xff'), std::string(64, '\0')}) {
        LineClient client(connect_tcp(address));
        client.send(garbage);
        EXPECT_TRUE(client.wait_closed());
    }
    LineClient client = enter(address, "olga");
    client.negotiate();
    client.send("]]}garbage\n");
    EXPECT_TRUE(client.next().contains("error"));
    EXPECT_EQ(client.ask(R"({"execute":"who"})"), is("olga", "observe"));
}

TEST_F(TlsDoorTest, FiftyClientsAtOnce)
{
    // Callers and the called share GIO's ten threads here, each of which waits for another: GIO
    // adds one only now and then.
    const std::string address = open_tls("node1", {.patience = std::chrono::minutes(1)});
    std::vector<std::unique_ptr<Dialling>> diallings;
    std::vector<std::unique_ptr<LineClient>> clients;
    const auto identity = certs().identity("olga");
    for (int i = 0; i < 50; ++i)
        diallings.push_back(std::make_unique<Dialling>(address, identity, [&](Result<UniqueFd> fd) {
            ASSERT_TRUE(fd) << fd.error().text();
            clients.push_back(std::make_unique<LineClient>(std::move(*fd)));
        }));
    ASSERT_TRUE(run_until([&] { return clients.size() == 50; }, std::chrono::minutes(1)));
    for (const auto& client : clients)
        client->negotiate();
    server->broadcast(make_event("PLAN", Json::object()));
    for (const auto& client : clients) {
        EXPECT_EQ(client->next()["event"], "PLAN");
        EXPECT_EQ(client->ask(R"({"execute":"who"})"), is("olga", "observe"));
    }
}

TEST_F(TlsDoorTest, ThoseWhoOperateHaveReservedPlaces)
{
    const std::string address = open_tls("node1", {.clients = 2, .reserved = 1});
    LineClient one = enter(address, "olga");
    LineClient two = enter(address, "olga");
    EXPECT_NE(dial_error(address, "olga").find("too many clients"), std::string::npos);
    EXPECT_EQ(who(address, "oscar"), is("oscar", "operate"));
}

TEST_F(TlsDoorTest, ARenewedCertificateServesTheNextConnection)
{
    namespace fs = std::filesystem;
    const TemporaryDirectory mine;
    const auto take = [&](const std::string& name, const char* part) {
        // As a careful copy does it: a new file takes the old one's place.
        fs::copy_file(certs().directory() + "/" + name + part, mine / "next");
        fs::rename(mine / "next", mine / ("my" + std::string(part)));
    };
    for (const char* part : {".crt", ".key"})
        take("olga", part);
    const auto identity = std::make_shared<TlsIdentity>(
        TlsFiles{certs().directory() + "/ca.crt", mine / "my.crt", mine / "my.key"});
    const std::string address = open_tls();
    const auto name = [&] {
        auto fd = dial(address, identity);
        EXPECT_TRUE(fd) << fd.error().text();
        LineClient client(fd ? std::move(*fd) : UniqueFd());
        client.negotiate();
        return json_string(client.ask(R"({"execute":"who"})")["return"], "name");
    };
    EXPECT_EQ(name(), "olga");
    for (const char* part : {".crt", ".key"})
        take("oscar", part);
    EXPECT_EQ(name(), "oscar");
    fs::remove(mine / "my.crt"); // a renewal that went wrong
    EXPECT_EQ(name(), "oscar");
    for (const char* part : {".crt", ".key"})
        take("anna", part);
    EXPECT_EQ(name(), "anna");
}

TEST_F(TlsDoorTest, DiallingCanBeCancelledAtAnyTime)
{
    const std::string address = open_tls();
    const auto identity = certs().identity("olga");
    bool called = false;
    for (int turns = 0; turns < 60; ++turns) {
        auto dialling =
            std::make_unique<Dialling>(address, identity, [&](const auto&) { called = true; });
        for (int i = 0; i < turns && !called; ++i)
            g_main_context_iteration(nullptr, FALSE);
        const bool before = called;
        dialling.reset();
        run_pending();
        EXPECT_EQ(called, before) << "called after its end";
    }
    EXPECT_TRUE(run_until([&] { return server->clients() == 0; }));
}

TEST_F(TlsDoorTest, DiallingHasALimit)
{
    const auto silent = listen_on_endpoint(
        {.kind = MonitorEndpoint::Kind::TcpListen, .host = "127.0.0.1", .port = "0"});
    sockaddr_in address = {};
    socklen_t size = sizeof address;
    getsockname(silent->fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    const auto fd = dial("tls:127.0.0.1:" + std::to_string(ntohs(address.sin_port)),
                         certs().identity("olga"), milliseconds(100));
    ASSERT_FALSE(fd);
    EXPECT_NE(fd.error().text().find("in time"), std::string::npos);
    EXPECT_NE(dial("tls:127.0.0.1:1", nullptr).error().text().find("certificates"),
              std::string::npos);
}

TEST_F(TlsDoorTest, NothingIsLeftOfConnectionsThatEnded)
{
    const std::string address = open_tls();
    who(address, "olga"); // GIO's own descriptors are open now
    run_until([&] { return server->clients() == 0; });
    const size_t before = open_descriptors().size();
    for (int i = 0; i < 10; ++i) {
        who(address, "olga");
        EXPECT_FALSE(let_in(address, "foreign/mallory"));
    }
    EXPECT_TRUE(run_until([&] { return open_descriptors().size() <= before; }));
}

TEST(TlsFilesTest, ErrorsNameTheFileAndWhatToDo)
{
    namespace fs = std::filesystem;
    const TlsFiles good = FleetCerts::get().files("olga");
    const auto error = [](TlsFiles files) {
        const auto material = TlsIdentity(std::move(files)).material();
        return material ? "good" : material.error().text();
    };
    EXPECT_EQ(error(good), "good");
    const auto expect = [&](TlsFiles files, const std::string& name, const std::string& words) {
        const std::string text = error(std::move(files));
        EXPECT_NE(text.find(name), std::string::npos) << text;
        EXPECT_NE(text.find(words), std::string::npos) << text;
    };
    expect({"/none/ca", good.cert, good.key}, "/none/ca", "drover-certs");
    expect({good.ca, "/none/cert", good.key}, "/none/cert", "drover-certs");
    expect({good.ca, good.cert, "/none/key"}, "/none/key", "drover-certs");
    expect({good.key, good.cert, good.key}, good.key, "holds no certificate");
    expect({good.ca, "", good.key}, "our certificate", "give all");
    const TemporaryDirectory mine;
    fs::copy_file(good.key, mine / "open.key");
    fs::permissions(mine / "open.key", fs::perms(0644));
    expect({good.ca, good.cert, mine / "open.key"}, "open.key", "chmod 600");
    fs::copy_file(good.ca, mine / "no.key");
    fs::permissions(mine / "no.key", fs::perms(0600));
    expect({good.ca, good.cert, mine / "no.key"}, "no.key", "drover-certs");
}

TEST(KeepAlive, IsSetOnTcp)
{
    const auto listening = listen_on_endpoint(
        {.kind = MonitorEndpoint::Kind::TcpListen, .host = "127.0.0.1", .port = "0"});
    keep_alive(listening->fd.get());
    int value = 0;
    socklen_t size = sizeof value;
    getsockopt(listening->fd.get(), SOL_SOCKET, SO_KEEPALIVE, &value, &size);
    EXPECT_EQ(value, 1);
    getsockopt(listening->fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size);
    EXPECT_EQ(value, 30'000);
    getsockopt(listening->fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, &value, &size);
    EXPECT_LE(value, 10);
}

} // namespace
} // namespace drover::balancer::testing
