// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/command_table.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(CommandTable, LetsAllPassWhileNoGuestMoves)
{
    for (const char* command : {"device_add", "object-del", "system_reset", "snapshot-load"})
        EXPECT_TRUE(may_pass(command, GuestPhase::Free)) << command;
    EXPECT_TRUE(may_pass_hmp("loadvm", GuestPhase::Free));
}

TEST(CommandTable, KeepsTheMachineAsItIsWhileItMoves)
{
    for (const char* command : {"device_add", "device_del", "netdev_add", "netdev_del",
                                "object-add", "blockdev-add", "blockdev-reopen"}) {
        const Status may = may_pass(command, GuestPhase::Moving);
        ASSERT_FALSE(may) << command;
        EXPECT_EQ(may.error().text(), std::string(command) + " not allowed while migrating");
    }
    for (const char* word : {"device_add", "device_del", "drive_add", "drive_del", "object_add",
                             "netdev_add", "netdev_del"})
        EXPECT_FALSE(may_pass_hmp(word, GuestPhase::Moving)) << word;
    for (const char* command : {"system_reset", "balloon", "drive-mirror", "blockdev-del"})
        EXPECT_TRUE(may_pass(command, GuestPhase::Moving)) << command;
    EXPECT_TRUE(may_pass_hmp("savevm", GuestPhase::Moving));
}

TEST(CommandTable, LetsNothingWriteRamOnceTheGuestIsHandedOver)
{
    for (const char* command :
         {"system_reset", "system_powerdown", "snapshot-load", "snapshot-save", "balloon",
          "block_resize", "qom-set", "device_del", "set_link", "inject-nmi", "send-key",
          "x-exit-preconfig", "query", "quits", "what-is-new"})
        EXPECT_FALSE(may_pass(command, GuestPhase::HandedOver)) << command;
    for (const char* word : {"system_reset", "loadvm", "savevm", "qemu-io", "sendkey", "device_del",
                             "balloon", "i", "o", "gdbserver"})
        EXPECT_FALSE(may_pass_hmp(word, GuestPhase::HandedOver)) << word;
}

TEST(CommandTable, LetsDisksBeMovedToTheEnd)
{
    for (const char* command :
         {"query-block-jobs", "block-job-cancel", "job-dismiss", "quit", "nbd-server-stop",
          "blockdev-del", "migrate-continue", "getfd", "block-dirty-bitmap-merge", "qom-list"})
        EXPECT_TRUE(may_pass(command, GuestPhase::HandedOver)) << command;
    for (const char* word : {"info", "q", "block_job_cancel", "stop", "xp", ""})
        EXPECT_TRUE(may_pass_hmp(word, GuestPhase::HandedOver)) << word;
}

} // namespace
} // namespace drover
