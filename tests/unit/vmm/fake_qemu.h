// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "tests/unit/monitor/loop_testing.h"
#include "vmm/qemu/qemu_machine.h"

#include <algorithm>
#include <map>
#include <set>

namespace drover::qemu {

/// QEMU's side of the engine's monitor: answers each command at once, by what the test wrote into
/// `answers` ("return" of {} if it wrote nothing), or when the test says so; and a machine that
/// drives it. Loop thread only.
class FakeQemu {
public:
    FakeQemu()
    {
        auto pair = socket_pair();
        EXPECT_TRUE(pair);
        peer_ = std::move(pair->first);
        client_ = std::make_unique<QmpClient>(
            std::move(pair->second),
            QmpClient::Callbacks{[this](const Json& event) { machine->handle_event(event); },
                                 [](const Error&) {}});
        machine = std::make_unique<QemuMachine>(*client_, QemuMachineConfig{});
        watch_ = loop::watch(peer_.get(), G_IO_IN, [this](GIOCondition) { read(); });
        tell(Json::parse(R"({"QMP":{"version":{},"capabilities":[]}})"));
        bool ready = false;
        client_->negotiate(false,
                           [&](const Result<Json>& greeting) { ready = greeting.has_value(); });
        EXPECT_TRUE(testing::run_until([&] { return ready; }));
        commands.clear();
    }

    [[nodiscard]] QmpClient& client() { return *client_; }

    // --- the script ---
    std::map<std::string, Json> answers; ///< whole ones, by the command's name
    std::set<std::string> holds;         ///< commands that are not answered before release()

    /// query-status' answer from now on.
    void set_status(const char* status)
    {
        answers["query-status"] =
            Json{{"return", {{"status", status}, {"running", status == std::string("running")}}}};
    }
    void refuse(const std::string& command, const char* why)
    {
        answers[command] = Json{{"error", {{"class", "GenericError"}, {"desc", why}}}};
    }
    void release(const std::string& command)
    {
        holds.erase(command);
        for (const Json& request : std::exchange(held_, {}))
            answer(request);
    }
    void event(const std::string& name, const Json& data = Json::object())
    {
        tell(Json{{"event", name}, {"data", data}});
    }
    /// An event about QEMU's own migration; query-migrate says the same from then on.
    void migration(const char* status)
    {
        answers["query-migrate"] = Json{{"return", {{"status", status}}}};
        event("MIGRATION", Json{{"status", status}});
    }

    // --- what happened ---
    std::vector<Json> commands; ///< as they came
    [[nodiscard]] long count(const std::string& command) const
    {
        return std::ranges::count_if(commands, [&](const Json& request) {
            return json_string(request, "execute") == command;
        });
    }
    /// The latest value of a migration parameter; null if it was not set.
    [[nodiscard]] Json parameter(const std::string& name) const
    {
        Json value;
        for (const Json& request : commands)
            if (json_string(request, "execute") == "migrate-set-parameters")
                value = request["arguments"].value(name, value);
        return value;
    }

private:
    void tell(const Json& message) const
    {
        const std::string line = dump_json(message) + "\n";
        EXPECT_EQ(send(peer_.get(), line.data(), line.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(line.size()));
    }

    void answer(const Json& request)
    {
        const auto scripted = answers.find(json_string(request, "execute"));
        Json message =
            scripted == answers.end() ? Json{{"return", Json::object()}} : scripted->second;
        message["id"] = request["id"];
        tell(message);
    }

    void read()
    {
        char buffer[65536];
        const ssize_t n = recv(peer_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n <= 0)
            return watch_.reset();
        text_.append(buffer, static_cast<size_t>(n));
        for (size_t end = 0; (end = text_.find('\n')) != text_.npos; text_.erase(0, end + 1)) {
            commands.push_back(Json::parse(text_.substr(0, end)));
            if (holds.contains(json_string(commands.back(), "execute")))
                held_.push_back(commands.back());
            else
                answer(commands.back());
        }
    }

    UniqueFd peer_;
    std::unique_ptr<QmpClient> client_;

public:
    std::unique_ptr<QemuMachine> machine;

private:
    loop::Source watch_;
    std::string text_;
    std::vector<Json> held_;
};

} // namespace drover::qemu
