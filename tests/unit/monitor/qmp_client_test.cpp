// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_client.h"

#include "tests/unit/monitor/loop_testing.h"

#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>

namespace drover::testing {
namespace {

/// The test plays QEMU at the other end of the client's connection.
class QmpClientTest : public ::testing::Test {
protected:
    QmpClientTest()
    {
        auto pair = socket_pair();
        peer = std::make_unique<LineClient>(std::move(pair->first));
        client = std::make_unique<QmpClient>(
            std::move(pair->second),
            QmpClient::Callbacks{[this](const Json& event) { events.push_back(event); },
                                 [this](Error why) {
                                     ++closed;
                                     last_error = std::move(why);
                                 }});
    }

    /// Keeps the outcome as text: "JSON" or "KIND: message".
    QmpClient::Reply keep(const std::string& name)
    {
        return [this, name](const Result<Json>& reply) {
            replies.push_back(name + " " +
                              (reply ? dump_json(*reply)
                                     : std::string(to_string(reply.error().kind)) + ": " +
                                           reply.error().message));
        };
    }

    bool got_replies(size_t count)
    {
        return run_until([&] { return replies.size() >= count; });
    }

    std::unique_ptr<LineClient> peer;
    std::unique_ptr<QmpClient> client;
    std::vector<Json> events;
    std::vector<std::string> replies;
    int closed = 0;
    Error last_error;
};

constexpr char greeting[] = R"({"QMP":{"version":{},"capabilities":["oob"]}})"
                            "\r\n";

TEST_F(QmpClientTest, NegotiatesAfterTheGreeting)
{
    client->negotiate(true, keep("ready"));
    run_pending();
    EXPECT_FALSE(peer->has_line());
    peer->send(greeting);
    const Json request = peer->next();
    EXPECT_EQ(request["execute"], "qmp_capabilities");
    EXPECT_EQ(request["arguments"], Json::parse(R"({"enable":["oob"]})"));
    peer->send(R"({"return":{},"id":)" + dump_json(request["id"]) + "}\n");
    ASSERT_TRUE(got_replies(1));
    EXPECT_EQ(replies[0], R"(ready {"capabilities":["oob"],"version":{}})");
}

TEST_F(QmpClientTest, EnablesOnlyWhatIsOffered)
{
    peer->send(R"({"QMP":{"version":{},"capabilities":[]}})");
    run_pending();
    client->negotiate(true, keep("ready"));
    EXPECT_FALSE(peer->next().contains("arguments"));
}

TEST_F(QmpClientTest, RepliesFindTheirCommandsInAnyOrder)
{
    client->execute("a", {{"x", 1}}, keep("a"));
    client->execute("b", Json::object(), keep("b"));
    const Json a = peer->next();
    const Json b = peer->next();
    EXPECT_EQ(a["arguments"], Json::parse(R"({"x":1})"));
    EXPECT_FALSE(b.contains("arguments"));
    peer->send(R"({"id":)" + dump_json(b["id"]) +
               R"(,"error":{"class":"GenericError","desc":"no"}}{"event":"STOP"}{"id":)" +
               dump_json(a["id"]) + R"(,"return":[2]})");
    ASSERT_TRUE(got_replies(2));
    EXPECT_EQ(replies, (std::vector<std::string>{"b machine: no", "a [2]"}));
    EXPECT_EQ(events, std::vector<Json>{Json::parse(R"({"event":"STOP"})")});
}

TEST_F(QmpClientTest, ForwardChangesNothingButTheId)
{
    Json answer;
    client->forward(Json::parse(R"({"exec-oob":"x","arguments":{"a":[]},"id":"theirs"})"),
                    [&](Json response) { answer = std::move(response); });
    Json request = peer->next();
    const Json id = request["id"];
    EXPECT_NE(id, "theirs");
    request.erase("id");
    EXPECT_EQ(request, Json::parse(R"({"exec-oob":"x","arguments":{"a":[]}})"));
    const char rest[] = R"("error":{"class":"DeviceNotFound","desc":"d"}})";
    peer->send(R"({"id":)" + dump_json(id) + "," + rest);
    ASSERT_TRUE(run_until([&] { return !answer.is_null(); }));
    EXPECT_EQ(answer, Json::parse(std::string("{") + rest));
}

TEST_F(QmpClientTest, ErrorWithoutIdFailsTheOldestCommand)
{
    client->forward(Json::parse(R"({"exec-oob":"x"})"), [](const Json&) { FAIL(); });
    client->execute("a", Json::object(), keep("a"));
    client->execute("b", Json::object(), keep("b"));
    peer->send(R"({"error":{"class":"GenericError","desc":"JSON parse error"}})");
    ASSERT_TRUE(got_replies(1));
    EXPECT_EQ(replies[0], "a machine: JSON parse error");
}

TEST_F(QmpClientTest, AReplyThatIsTooBigFailsItsCommandAlone)
{
    client->execute("big", Json::object(), keep("big"));
    client->execute("next", Json::object(), keep("next"));
    const Json big = peer->next();
    const Json next = peer->next();
    std::thread sender([&] {
        const std::string text = R"({"return":["}]\"{",")" + std::string(257 << 20, 'x') +
                                 R"("],"id":)" + dump_json(big["id"]) + R"(})" + "\r\n" +
                                 R"({"return":2,"id":)" + dump_json(next["id"]) + "}\r\n";
        for (size_t sent = 0; sent < text.size();)
            sent += static_cast<size_t>(
                ::send(peer->fd(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL));
    });
    ASSERT_TRUE(got_replies(2));
    sender.join();
    EXPECT_EQ(replies[0],
              "big machine: the answer was a value of more than 256 MiB and is left out "
              "(ask for less at once)");
    EXPECT_EQ(replies[1], "next 2");
    EXPECT_EQ(closed, 0);
}

TEST_F(QmpClientTest, LossFailsWhatIsPendingThenClosesOnce)
{
    Json raw;
    client->negotiate(false, keep("ready"));
    client->execute("a", Json::object(), keep("a"));
    client->forward(Json::parse(R"({"execute":"b"})"), [&](Json response) { raw = response; });
    peer.reset();
    ASSERT_TRUE(run_until([&] { return closed > 0; }));
    EXPECT_EQ(replies,
              (std::vector<std::string>{"ready connection: the QMP peer closed the connection",
                                        "a connection: the QMP peer closed the connection"}));
    EXPECT_EQ(raw["error"]["class"], "GenericError");
    client->execute("late", Json::object(), keep("late"));
    EXPECT_EQ(replies.size(), 2U); // not before execute() has returned
    ASSERT_TRUE(got_replies(3));
    EXPECT_EQ(replies[2], "late connection: the QMP peer closed the connection");
    run_pending();
    EXPECT_EQ(closed, 1);
}

TEST_F(QmpClientTest, LastWordsAreHeardThoughAWriteFailed)
{
    peer->send(R"({"event":"SHUTDOWN"})");
    peer.reset();
    client->execute("a", Json::object(), keep("a"));
    ASSERT_TRUE(run_until([&] { return closed > 0; }));
    EXPECT_EQ(events.size(), 1U);
    EXPECT_EQ(replies.size(), 1U);
}

TEST_F(QmpClientTest, PeerThatDoesNotSpeakQmpIsLeft)
{
    client->execute("a", Json::object(), keep("a"));
    peer->send("QEMU 7.2.22 monitor - type 'help' for more information\n(qemu) \n");
    ASSERT_TRUE(run_until([&] { return closed > 0; }));
    EXPECT_EQ(last_error.kind, ErrorKind::Protocol);
    EXPECT_NE(last_error.text().find("does not speak QMP"), std::string::npos);
    EXPECT_EQ(replies.size(), 1U);
}

TEST_F(QmpClientTest, OddMessagesAreHarmless)
{
    client->negotiate(true, keep("ready"));
    peer->send(R"({"QMP":5}{"QMP":{"capabilities":7}}{"return":1,"id":99}{"return":1,"id":"x"}{})");
    const Json request = peer->next();
    peer->send(R"({"error":"text","id":)" + dump_json(request["id"]) + "}");
    ASSERT_TRUE(got_replies(1));
    EXPECT_EQ(replies[0], "ready machine: the machine gave no reason");
    EXPECT_EQ(closed, 0);
}

TEST_F(QmpClientTest, CallbackMayDestroyTheClient)
{
    int others = 0;
    client->execute("a", Json::object(), [&](const Result<Json>&) { client.reset(); });
    client->execute("b", Json::object(), [&](const Result<Json>&) { ++others; });
    peer.reset();
    ASSERT_TRUE(run_until([&] { return !client; }));
    run_pending();
    EXPECT_EQ(others, 0);
    EXPECT_EQ(closed, 0);
}

TEST_F(QmpClientTest, BigCommandsArriveWhole)
{
    const std::string big(9 << 20, 'x');
    client->execute("a", {{"big", big}}, keep("a"));
    EXPECT_EQ(peer->next()["arguments"]["big"], big);
}

TEST_F(QmpClientTest, DescriptorsNeedAUnixSocket)
{
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    const UniqueFd unused(fds[1]);
    QmpClient other(UniqueFd{fds[0]}, {});
    std::vector<UniqueFd> passed;
    passed.emplace_back(dup(STDERR_FILENO));
    other.execute("getfd", Json::object(), keep("getfd"), std::move(passed));
    ASSERT_TRUE(got_replies(1));
    EXPECT_EQ(replies[0], "getfd invalid: file descriptors cannot be passed on this connection");
}

} // namespace
} // namespace drover::testing
