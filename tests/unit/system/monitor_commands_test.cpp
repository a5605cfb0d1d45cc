// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/monitor_commands.h"
#include "tests/unit/vmm/fake_qemu.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using testing::run_until;

/// The users' commands, and a QEMU that takes what is passed on.
struct MonitorCommandsTest : ::testing::Test {
    MonitorCommandsTest()
        : control(*qemu.machine, qemu.client(), {}, {},
                  {.event = [](const Json&) {},
                   .incoming_failed = [](const Error&) {},
                   .served = [] {},
                   .source_ended = [] {},
                   .given_back = [] {}}),
          memory(qemu.client(), *qemu.machine, control),
          commands(qemu.client(), control, &memory, callbacks())
    {
    }

    MonitorCommands::Callbacks callbacks()
    {
        return {
            .start_paused = [](bool) {},
            .run_state_changes = [this](bool under_way) { changes.push_back(under_way); },
            .blockers = [](auto) {},
            .opening_by_text = [](const std::string&) {},
            .opening = [](Json&) {},
            .copying_flags = [] {},
            .quit_when_served = [] {},
        };
    }

    void ask(const std::string& command, Json arguments = Json::object())
    {
        QmpRequest request;
        request.command = command;
        request.arguments = std::move(arguments);
        commands.handle(std::move(request), [this](const QmpResponse&) { ++answered; });
    }

    qemu::FakeQemu qemu;
    MigrateControl control;
    MemoryPlug memory;
    MonitorCommands commands;
    std::vector<bool> changes; ///< true: one is on its way; false: QEMU has answered it
    int answered = 0;
};

/// So that no migration begins to save the guest in between.
TEST_F(MonitorCommandsTest, AStopIsOnItsWayUntilQemuHasAnsweredIt)
{
    qemu.holds = {"stop"};
    ask("stop");
    ASSERT_TRUE(run_until([&] { return qemu.count("stop") == 1; }));
    EXPECT_EQ(changes, std::vector{true});
    qemu.release("stop");
    ASSERT_TRUE(run_until([&] { return answered == 1; }));
    EXPECT_EQ(changes, (std::vector{true, false}));
}

TEST_F(MonitorCommandsTest, SoIsOneByHmpAndOneThatQemuRefuses)
{
    qemu.refuse("cont", "Resetting the Virtual Machine is required");
    ask("cont");
    ask("human-monitor-command", Json{{"command-line", "stop"}});
    ASSERT_TRUE(run_until([&] { return answered == 2; }));
    EXPECT_EQ(changes, (std::vector{true, true, false, false}));
}

} // namespace
} // namespace drover
