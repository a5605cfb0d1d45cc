// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "tests/unit/monitor/loop_testing.h"

#include <csignal>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

namespace drover::testing {

/// A real QEMU without a machine, and our client of its monitor.
class QemuTest : public ::testing::Test {
protected:
    void SetUp() override
    {
        auto pair = socket_pair();
        ASSERT_TRUE(pair);
        ASSERT_TRUE(set_close_on_exec(pair->second.get(), false));
        const std::string chardev = "socket,id=m,fd=" + std::to_string(pair->second.get());
        const char* const arguments[] = {"qemu-system-x86_64",
                                         "-machine",
                                         "none",
                                         "-nodefaults",
                                         "-display",
                                         "none",
                                         "-chardev",
                                         chardev.c_str(),
                                         "-mon",
                                         "chardev=m,mode=control",
                                         nullptr};
        ASSERT_EQ(posix_spawnp(&pid_, arguments[0], nullptr, nullptr,
                               const_cast<char* const*>(arguments), environ),
                  0)
            << "install qemu-system-x86";
        pair->second.reset();
        client = std::make_unique<QmpClient>(
            std::move(pair->first),
            QmpClient::Callbacks{[this](const Json& event) { events.push_back(event); },
                                 [this](const Error&) { closed = true; }});
        greeting = wait_for([&](auto reply) { client->negotiate(true, std::move(reply)); });
    }

    void TearDown() override
    {
        client.reset();
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
    }

    static Json wait_for(const std::function<void(QmpClient::Reply)>& start)
    {
        std::optional<Json> value;
        start([&](Result<Json> reply) {
            value = reply ? std::move(*reply) : Json{{"failed", reply.error().text()}};
        });
        EXPECT_TRUE(run_until([&] { return value.has_value(); }));
        return value.value_or(nullptr);
    }

    Json execute(const std::string& command, const Json& arguments = Json::object(),
                 std::vector<UniqueFd> fds = {})
    {
        return wait_for([&](auto reply) {
            client->execute(command, arguments, std::move(reply), std::move(fds));
        });
    }

    std::unique_ptr<QmpClient> client;
    Json greeting;
    std::vector<Json> events;
    bool closed = false;

private:
    pid_t pid_ = -1;
};

} // namespace drover::testing
