// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/dial.h"
#include "contrib/balancer/doors/door.h"
#include "monitor/endpoint_socket.h"
#include "tests/unit/balancer/doors/fleet_certs.h"
#include "tests/unit/monitor/loop_testing.h"

#include <optional>

namespace drover::balancer::testing {

using drover::testing::LineClient;
using drover::testing::run_pending;
using drover::testing::run_until;

/// The description of a QMP error, or what came instead.
inline std::string error_of(const Json& answer)
{
    return answer.is_object() && answer.contains("error") ? json_string(answer["error"], "desc")
                                                          : answer.dump();
}

/// A server with the commands "who" (observe) and "work" (operate).
class DoorTest : public ::testing::Test {
protected:
    DoorTest()
    {
        table.add(
            "who", Role::Observe, {},
            [](const Json&, const Client& client, const QmpResponder& respond) {
                respond(QmpResponse::ok({{"name", client.name}, {"role", to_string(client.role)}}));
            });
        table.add("work", Role::Operate, {{"much?", "int"}},
                  [this](const Json&, const Client&, const QmpResponder& respond) {
                      ++worked;
                      respond(QmpResponse::ok());
                  });
    }

    void open_server(DoorLimits limits = {})
    {
        server.emplace(make_greeting("test"), table, limits);
    }

    /// A TLS door on a free port; its address.
    std::string open_tls(const std::string& certificate = "node1", DoorLimits limits = {})
    {
        if (!server)
            open_server(limits);
        const auto address =
            server->add({.address = "tls:127.0.0.1:0", .identity = certs().identity(certificate)});
        EXPECT_TRUE(address) << address.error().text();
        return address.value_or("");
    }

    static const FleetCerts& certs() { return FleetCerts::get(); }

    static Result<UniqueFd> dial(const std::string& address, std::shared_ptr<TlsIdentity> identity,
                                 std::chrono::milliseconds limit = std::chrono::seconds(10))
    {
        std::optional<Result<UniqueFd>> result;
        const Dialling dialling(
            address, std::move(identity), [&](Result<UniqueFd> fd) { result = std::move(fd); },
            limit);
        EXPECT_FALSE(result); // never before the constructor has returned
        run_until([&] { return result.has_value(); });
        return result ? std::move(*result) : fail(ErrorKind::System, "the dialling never ends");
    }

    static Result<UniqueFd> dial_as(const std::string& address, const std::string& name)
    {
        return dial(address, certs().identity(name));
    }

    std::string dial_error(const std::string& address, const std::string& name)
    {
        const auto fd = dial_as(address, name);
        return fd ? "connected" : fd.error().text();
    }

    CommandTable table{make_greeting("test")["version"]};
    std::optional<DoorServer> server;
    int worked = 0;
};

} // namespace drover::balancer::testing
