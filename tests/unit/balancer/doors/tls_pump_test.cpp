// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/tls_handshake.h"
#include "contrib/balancer/doors/tls_pump.h"
#include "monitor/wire.h"
#include "tests/unit/balancer/doors/door_testing.h"

#include <random>

namespace drover::balancer::testing {
namespace {

/// Two plain sockets with TLS between them.
class TlsPumpTest : public DoorTest {
protected:
    void connect()
    {
        auto pair = socket_pair();
        std::optional<Result<TlsPeer>> serving, calling;
        const std::chrono::seconds limit(10);
        const auto server_side =
            TlsHandshake::serve(std::move(pair->first), *certs().identity("node1")->material(),
                                limit, [&](Result<TlsPeer> p) { serving = std::move(p); });
        const auto client_side = TlsHandshake::call(
            std::move(pair->second), "localhost", *certs().identity("olga")->material(), limit,
            [&](Result<TlsPeer> p) { calling = std::move(p); });
        ASSERT_TRUE(run_until([&] { return serving && calling; }));
        ASSERT_TRUE(*serving) << serving->error().text();
        ASSERT_TRUE(*calling) << calling->error().text();
        near = *pump_tls(std::move((*calling)->connection));
        far = *pump_tls(std::move((*serving)->connection));
    }

    /// Reads until the end of the input, or `size` bytes.
    static std::string read_all(const UniqueFd& fd, size_t size = SIZE_MAX)
    {
        std::string text;
        bool ended = false;
        const auto source = loop::watch(fd.get(), G_IO_IN, [&](GIOCondition) {
            char buffer[65536];
            const ssize_t n = recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
            if (n > 0)
                text.append(buffer, static_cast<size_t>(n));
            ended = n <= 0;
        });
        EXPECT_TRUE(run_until([&] { return ended || text.size() >= size; }));
        return text;
    }

    static void write(const UniqueFd& fd, const std::string& text)
    {
        ASSERT_EQ(send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }

    /// How much `fd` takes until nothing moves any more.
    static size_t fill(const UniqueFd& fd)
    {
        const std::string block(64U << 10, 'x');
        size_t taken = 0;
        bool still = false;
        while (!still) {
            still = true;
            ssize_t n = 0;
            while ((n = send(fd.get(), block.data(), block.size(), MSG_DONTWAIT)) > 0) {
                taken += static_cast<size_t>(n);
                still = false;
            }
            bool waited = false;
            const auto timer = loop::after(std::chrono::milliseconds(50), [&] { waited = true; });
            run_until([&] { return waited; });
        }
        return taken;
    }

    UniqueFd near, far;
};

TEST_F(TlsPumpTest, CarriesBothWaysUnchanged)
{
    connect();
    std::mt19937 random(1);
    std::string out(3U << 20, '\0');
    for (char& c : out)
        c = static_cast<char>(random());
    auto wire = Wire::open(std::move(near), {}, {[](auto, auto) {}, [](const Error&) {}});
    wire->send(out);
    EXPECT_EQ(read_all(far, out.size()), out);
}

TEST_F(TlsPumpTest, AHalfCloseEndsOneDirectionOnly)
{
    connect();
    write(near, "question");
    shutdown(near.get(), SHUT_WR);
    EXPECT_EQ(read_all(far), "question"); // to the end of input
    write(far, "answer");
    EXPECT_EQ(read_all(near, 6), "answer");
    write(far, ", and more");
    far.reset();
    EXPECT_EQ(read_all(near), ", and more");
}

TEST_F(TlsPumpTest, WhatWasWrittenBeforeTheCloseArrives)
{
    connect();
    write(near, std::string(100'000, 'a'));
    near.reset();
    EXPECT_EQ(read_all(far).size(), 100'000U);
}

TEST_F(TlsPumpTest, BackPressureGoesThrough)
{
    connect();
    const size_t taken = fill(near);
    EXPECT_LT(taken, 8U << 20) << "the pumps swallow without limit";
    EXPECT_EQ(read_all(far, taken).size(), taken);
}

TEST_F(TlsPumpTest, AnEndThatReadsNothingDoesNotKeepTheOther)
{
    connect();
    fill(near);
    near.reset(); // with much unsent, and a peer that takes nothing: given up after a while
    EXPECT_LT(read_all(far).size(), 8U << 20);
}

TEST_F(TlsPumpTest, BytesReadBeforeComeFirst)
{
    auto pair = socket_pair();
    std::optional<Result<TlsPeer>> serving, calling;
    const auto server_side = TlsHandshake::serve(
        std::move(pair->first), *certs().identity("node1")->material(), std::chrono::seconds(10),
        [&](Result<TlsPeer> p) { serving = std::move(p); });
    const auto client_side = TlsHandshake::call(
        std::move(pair->second), "localhost", *certs().identity("olga")->material(),
        std::chrono::seconds(10), [&](Result<TlsPeer> p) { calling = std::move(p); });
    ASSERT_TRUE(run_until([&] { return serving && calling; }));
    near = *pump_tls(std::move((*calling)->connection), "first, ");
    far = *pump_tls(std::move((*serving)->connection));
    write(far, "second");
    EXPECT_EQ(read_all(near, 13), "first, second");
}

/// One who floods, and one who does not read, are dropped; another is served all the while.
class TlsAbuseTest : public DoorTest {
protected:
    LineClient enter(const std::string& address, const std::string& name)
    {
        auto fd = dial_as(address, name);
        EXPECT_TRUE(fd) << fd.error().text();
        LineClient client(fd ? std::move(*fd) : UniqueFd());
        client.negotiate();
        return client;
    }
};

TEST_F(TlsAbuseTest, AFloodIsCutOff)
{
    const std::string address = open_tls();
    LineClient good = enter(address, "olga");
    auto fd = dial_as(address, "oscar");
    ASSERT_TRUE(fd);
    bool closed = false;
    const auto wire =
        Wire::open(std::move(*fd), {}, {[](auto, auto) {}, [&](const Error&) { closed = true; }});
    wire->send("\"");
    for (int i = 0; i < 66; ++i) {
        wire->send(std::string(1U << 20, 'x'));
        EXPECT_TRUE(good.ask(R"({"execute":"who"})").contains("return"));
    }
    EXPECT_TRUE(run_until([&] { return closed; }));
    EXPECT_TRUE(run_until([&] { return server->clients() == 1; }));
    EXPECT_TRUE(good.ask(R"({"execute":"who"})").contains("return"));
}

TEST_F(TlsAbuseTest, OneThatDoesNotReadIsDropped)
{
    const std::string address = open_tls();
    LineClient good = enter(address, "olga");
    LineClient lazy = enter(address, "oscar");
    lazy.listen(false);
    const Json event = make_event("BIG", {{"text", std::string(1U << 20, 'x')}});
    int heard = 0;
    for (int i = 0; i < 80; ++i) {
        server->broadcast(event);
        heard += json_string(good.next(), "event") == "BIG" ? 1 : 0;
    }
    EXPECT_EQ(heard, 80);
    EXPECT_TRUE(run_until([&] { return server->clients() == 1; }));
    EXPECT_TRUE(good.ask(R"({"execute":"who"})").contains("return"));
}

} // namespace
} // namespace drover::balancer::testing
