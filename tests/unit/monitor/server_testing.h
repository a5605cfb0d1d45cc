// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/monitor_listener.h"
#include "monitor/qmp_server.h"
#include "tests/unit/monitor/loop_testing.h"
#include "util/defect.h"

#include <deque>
#include <gtest/gtest.h>
#include <map>

namespace drover::testing {

/// "echo" returns its arguments, "later" waits for the test, "big" returns 8 MiB, "defect" meets
/// one.
class TestHandler : public QmpHandler {
public:
    void handle(QmpRequest request, QmpResponder respond) override
    {
        const std::string command = request.command;
        const Json arguments = request.arguments;
        requests.push_back(std::move(request));
        if (command == "echo")
            respond(QmpResponse::ok(arguments));
        else if (command == "big")
            respond(QmpResponse::ok(std::string(8 << 20, 'x')));
        else if (command == "defect")
            require(false, "what a test wants");
        else if (command == "later")
            waiting.push_back(std::move(respond));
        else
            respond(QmpResponse::error("The command " + command + " has not been found",
                                       "CommandNotFound"));
    }
    void client_gone(uint64_t client) override { gone.push_back(client); }

    /// Lets the oldest "later" end.
    void finish_one()
    {
        const QmpResponder respond = std::move(waiting.front());
        waiting.pop_front();
        respond(QmpResponse::ok());
    }

    std::deque<QmpRequest> requests;
    std::deque<QmpResponder> waiting;
    std::vector<uint64_t> gone;
};

inline Status add_monitor(QmpServer& server, const MonitorEndpoint& endpoint)
{
    auto opened = open_monitor(endpoint);
    if (!opened)
        return pass(opened);
    server.add_monitor(std::move(*opened));
    return {};
}

class QmpServerTest : public ::testing::Test {
protected:
    /// A client on a monitor of its own.
    LineClient connect(bool pretty = false)
    {
        auto pair = socket_pair();
        MonitorEndpoint endpoint{.kind = MonitorEndpoint::Kind::ConnectedFd};
        endpoint.fd = pair->second.release();
        endpoint.pretty = pretty;
        EXPECT_TRUE(add_monitor(server, endpoint));
        return LineClient(std::move(pair->first));
    }

    static std::string error_of(const Json& answer)
    {
        const Json error = answer.is_object() ? answer.value("error", Json::object()) : Json();
        return json_string(error, "class") + ": " + json_string(error, "desc");
    }

    TestHandler handler;
    QmpServer server{Json::parse(R"({"version":{"package":"test"},"capabilities":["oob"]})"),
                     handler};
};

} // namespace drover::testing
