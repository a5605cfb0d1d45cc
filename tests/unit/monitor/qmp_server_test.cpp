// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/monitor/server_testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::testing {
namespace {

const Json ok = Json::parse(R"({"return":{}})");

TEST_F(QmpServerTest, GreetsAndDemandsNegotiation)
{
    LineClient client = connect();
    EXPECT_EQ(client.next(),
              Json::parse(R"({"QMP":{"version":{"package":"test"},"capabilities":["oob"]}})"));
    EXPECT_EQ(client.ask(R"({"execute":"echo","id":7})"),
              Json::parse(R"({"id":7,"error":{"class":"CommandNotFound","desc":
                          "Expecting capabilities negotiation with 'qmp_capabilities'"}})"));
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities"})"), ok);
    EXPECT_EQ(error_of(client.ask(R"({"execute":"qmp_capabilities"})")),
              "CommandNotFound: Capabilities negotiation is already complete, command ignored");
    EXPECT_EQ(client.ask(R"({"execute":"echo"})"), ok);
}

TEST_F(QmpServerTest, ChecksTheListOfCapabilities)
{
    LineClient client = connect();
    client.next();
    const auto enable = [&](const char* arguments) {
        return error_of(client.ask(R"({"execute":"qmp_capabilities","arguments":)" +
                                   std::string(arguments) + "}"));
    };
    EXPECT_EQ(enable(R"({"enable":["warp"]})"),
              "GenericError: Parameter 'enable' does not accept value \"warp\"");
    EXPECT_EQ(enable(R"({"enable":"oob"})"),
              "GenericError: Invalid parameter type for 'enable', expected: array");
    EXPECT_EQ(enable(R"({"x":1})"), "GenericError: Parameter 'x' is unexpected");
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"), ok);
}

TEST_F(QmpServerTest, OobIsRefusedWhereNotOffered)
{
    QmpServer plain(Json::parse(R"({"capabilities":[]})"), handler);
    auto pair = socket_pair();
    MonitorEndpoint endpoint{.kind = MonitorEndpoint::Kind::ConnectedFd};
    endpoint.fd = pair->second.release();
    ASSERT_TRUE(add_monitor(plain, endpoint));
    LineClient client(std::move(pair->first));
    client.next();
    EXPECT_EQ(
        error_of(client.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})")),
        "GenericError: Capability 'oob' is not offered here");
}

TEST_F(QmpServerTest, EchoesAnyIdInSuccessAndError)
{
    LineClient client = connect();
    client.negotiate();
    for (const char* id : {"1", "\"a\"", "null", "[1,{\"b\":2}]", "{\"c\":[]}", "2.5"}) {
        const Json expected = Json::parse(id);
        Json answer = client.ask(R"({"execute":"echo","id":)" + std::string(id) + "}");
        EXPECT_TRUE(answer.contains("id") && answer["id"] == expected) << id;
        answer = client.ask(R"({"execute":"nope","id":)" + std::string(id) + "}");
        EXPECT_TRUE(answer.contains("error") && answer["id"] == expected) << id;
    }
    EXPECT_FALSE(client.ask(R"({"execute":"echo"})").contains("id"));
}

TEST_F(QmpServerTest, RefusesMalformedRequestsAndGoesOn)
{
    LineClient client = connect();
    client.negotiate();
    const std::pair<const char*, const char*> cases[] = {
        {R"({"execute":5})", "QMP input member 'execute' must be a string"},
        {R"({"execute":"echo","arguments":[]})", "QMP input member 'arguments' must be an object"},
        {R"({"execute":"echo","x":1})", "QMP input member 'x' is unexpected"},
        {R"({"exec-oob":"echo"})", "QMP input member 'exec-oob' is unexpected"},
        {R"({"id":1})", "QMP input lacks member 'execute'"},
        {"[1]", "QMP input must be a JSON object"},
        {"}", "JSON parse error, a closing bracket that nothing opened"},
        {R"({"execute":"echo)", "JSON parse error, a string that does not end on its line"},
        {R"({"execute":"a","execute":"b"})", "JSON parse error, duplicate key 'execute'"},
    };
    for (const auto& [text, error] : cases) {
        EXPECT_EQ(error_of(client.ask(std::string(text) + "\n")),
                  "GenericError: " + std::string(error));
        EXPECT_EQ(client.ask(R"({"execute":"echo"})"), ok) << text;
    }
    EXPECT_TRUE(error_of(client.ask("{\"execute\" 1}"))
                    .starts_with("GenericError: JSON parse error, line 1, column 12: "));
    EXPECT_EQ(client.ask("\r\n{'execute':\n'echo'}"), ok);
}

TEST_F(QmpServerTest, PipelinedCommandsRunOneByOneInOrder)
{
    LineClient client = connect();
    client.negotiate();
    client.send(
        R"({"execute":"later","id":1}{"execute":"echo","id":2}{bad}{"execute":"echo","id":3})");
    ASSERT_TRUE(run_until([&] { return handler.waiting.size() == 1; }));
    run_pending();
    EXPECT_EQ(handler.requests.size(), 1U);
    EXPECT_FALSE(client.has_line());
    handler.finish_one();
    EXPECT_EQ(client.next()["id"], 1);
    EXPECT_EQ(client.next()["id"], 2);
    EXPECT_TRUE(client.next().contains("error"));
    EXPECT_EQ(client.next()["id"], 3);
}

TEST_F(QmpServerTest, NegotiationMayBePipelinedWithWhatItEnables)
{
    LineClient client = connect();
    client.next();
    client.send(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}
                   {"exec-oob":"echo","id":1})");
    EXPECT_EQ(client.next(), ok);
    EXPECT_EQ(client.next(), Json::parse(R"({"return":{},"id":1})"));
}

TEST_F(QmpServerTest, OutOfBandCommandsOvertake)
{
    LineClient client = connect();
    client.negotiate(true);
    client.send(R"({"execute":"later","id":1}{"execute":"echo","id":2}{"exec-oob":"echo","id":3})");
    EXPECT_EQ(client.next()["id"], 3);
    EXPECT_TRUE(handler.requests.back().out_of_band);
    handler.finish_one();
    EXPECT_EQ(client.next()["id"], 1);
    EXPECT_EQ(client.next()["id"], 2);
}

TEST_F(QmpServerTest, ClientsDoNotWaitForEachOther)
{
    LineClient slow = connect();
    LineClient quick = connect();
    slow.negotiate();
    quick.negotiate();
    slow.send(R"({"execute":"later"})");
    EXPECT_EQ(quick.ask(R"({"execute":"echo"})"), ok);
    ASSERT_EQ(handler.waiting.size(), 1U);
    EXPECT_NE(handler.requests[0].client, handler.requests[1].client);
}

TEST_F(QmpServerTest, StopsReadingAClientWithManyCommandsQueued)
{
    LineClient client = connect();
    client.negotiate();
    const std::string command = R"({"execute":"later"})" + std::string(1000, ' ');
    size_t sent = 0;
    // Ends only if the server stops to read: then the socket's buffers fill up.
    while (sent < 100'000 && send(client.fd(), command.data(), command.size(), MSG_DONTWAIT) > 0) {
        ++sent;
        run_pending();
    }
    EXPECT_LT(sent, 100'000U);
    EXPECT_EQ(handler.requests.size(), 1U);
    ASSERT_EQ(fcntl(client.fd(), F_SETFL, 0), 0);
    for (size_t i = 0; i < sent; ++i) {
        ASSERT_TRUE(run_until([&] { return !handler.waiting.empty(); })) << i << " of " << sent;
        handler.finish_one();
        EXPECT_EQ(client.next(), ok);
    }
}

TEST_F(QmpServerTest, DescriptorsGoToTheCommandTheyCameWith)
{
    LineClient client = connect();
    client.negotiate();
    int pipe_fds[2];
    ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
    const UniqueFd read_end(pipe_fds[0]);
    const UniqueFd write_end(pipe_fds[1]);
    // Nothing runs between these, so that the server gets them in one read.
    client.send(R"({"execute":"echo","id":1} )");
    client.send_with_fd(R"({"execute":"echo","id":2})", read_end.get());
    client.send(R"({"execute":"echo","id":3})");
    for (int id = 1; id <= 3; ++id)
        EXPECT_EQ(client.next()["id"], id);
    EXPECT_TRUE(handler.requests[0].fds.empty());
    ASSERT_EQ(handler.requests[1].fds.size(), 1U);
    EXPECT_TRUE(handler.requests[2].fds.empty());
    const int got = handler.requests[1].fds[0].get();
    struct stat mine = {};
    struct stat theirs = {};
    ASSERT_EQ(fstat(read_end.get(), &mine), 0);
    ASSERT_EQ(fstat(got, &theirs), 0);
    EXPECT_EQ(mine.st_ino, theirs.st_ino);
    EXPECT_EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
}

TEST_F(QmpServerTest, DescriptorsStayWithACommandSentInPieces)
{
    LineClient client = connect();
    client.negotiate();
    client.send_with_fd(R"({"execute":)", STDERR_FILENO);
    run_pending();
    client.send(R"("echo"})");
    EXPECT_EQ(client.next(), ok);
    EXPECT_EQ(handler.requests[0].fds.size(), 1U);
}

TEST_F(QmpServerTest, ClientThatHoardsDescriptorsIsDropped)
{
    LineClient client = connect();
    client.negotiate();
    client.send("{");
    for (int i = 0; i < 254; ++i) {
        client.send_with_fd(" ", STDERR_FILENO);
        run_pending();
    }
    EXPECT_TRUE(client.wait_closed());
}

TEST_F(QmpServerTest, ClientThatDoesNotReadIsDropped)
{
    LineClient lazy = connect();
    LineClient other = connect();
    lazy.negotiate();
    other.negotiate();
    lazy.listen(false);
    for (int i = 0; i < 10; ++i)
        lazy.send(R"({"execute":"big"})");
    EXPECT_TRUE(run_until([&] { return handler.gone.size() == 1; }));
    EXPECT_EQ(other.ask(R"({"execute":"echo"})"), ok);
}

TEST_F(QmpServerTest, EndlessCommandIsDropped)
{
    LineClient client = connect();
    LineClient other = connect();
    client.negotiate();
    other.negotiate();
    const std::string mebibyte(1 << 20, 'x');
    client.send("{\"");
    for (size_t sent = 0; sent < (80U << 20) && handler.gone.empty();) {
        const ssize_t n =
            send(client.fd(), mebibyte.data(), mebibyte.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? static_cast<size_t>(n) : 0;
        run_pending();
    }
    EXPECT_EQ(handler.gone.size(), 1U);
    EXPECT_EQ(other.ask(R"({"execute":"echo"})"), ok);
}

TEST_F(QmpServerTest, AnswerToAClientThatHasGoneIsDropped)
{
    {
        LineClient client = connect();
        client.negotiate();
        client.send(R"({"execute":"later"})");
        ASSERT_TRUE(run_until([&] { return handler.waiting.size() == 1; }));
    }
    ASSERT_TRUE(run_until([&] { return handler.gone.size() == 1; }));
    EXPECT_EQ(handler.gone[0], handler.requests[0].client);
    handler.finish_one();
}

TEST_F(QmpServerTest, EventsAreForThoseWhoNegotiated)
{
    LineClient fresh = connect();
    LineClient ready = connect();
    EXPECT_TRUE(fresh.next().contains("QMP"));
    ready.negotiate();
    const Json event = make_event("STOP", {{"a", 1}});
    EXPECT_GT(event["timestamp"]["seconds"], 1'700'000'000);
    server.broadcast(event);
    EXPECT_EQ(ready.next(), event);
    EXPECT_EQ(fresh.ask(R"({"execute":"qmp_capabilities"})"), ok);
    EXPECT_FALSE(fresh.has_line());
}

TEST_F(QmpServerTest, PrettyAnswersAreIndented)
{
    LineClient client = connect(true);
    EXPECT_TRUE(run_until([&] { return client.has_line(); }));
    EXPECT_TRUE(client.next().is_discarded()); // the first line alone is "{"
}

TEST_F(QmpServerTest, ACommandThatMeetsADefectIsAnsweredAndTheNextIsCarriedOut)
{
    defects::survive({});
    LineClient client = connect();
    client.negotiate();
    const uint64_t before = defects::count();
    EXPECT_EQ(error_of(client.ask(R"({"execute":"defect"})")),
              "GenericError: the command has come to no end; see Drover's log");
    EXPECT_EQ(client.ask(R"({"execute":"echo"})"), ok);
    EXPECT_EQ(defects::count(), before + 1);
    defects::die();
}

} // namespace
} // namespace drover::testing
