// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/migrate_reading.h"

#include "contrib/balancer/host/transfer_rate.h"

#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

struct Reading {
    const char* status;
    const char* drover_state;
    bool link_is_up;
    bool incoming;
    MoveStatus expected;
    bool guest_here;
};

TEST(MigrateReading, KnowsWhoseTheGuestIs)
{
    const Reading readings[] = {
        {"setup", "connecting", true, false, MoveStatus::Active, true},
        {"active", "copying", true, false, MoveStatus::Active, true},
        {"device", "committing", true, false, MoveStatus::Active, true},
        {"device", "asking", false, false, MoveStatus::Asking, true},
        {"postcopy-active", "postcopy", true, false, MoveStatus::Postcopy, false},
        {"postcopy-paused", "postcopy-paused", true, false, MoveStatus::Postcopy, false},
        {"completed", "completed", true, false, MoveStatus::Completed, false},
        {"failed", "failed", true, false, MoveStatus::Failed, true},
        {"cancelled", "failed", true, false, MoveStatus::Cancelled, true},
        {"setup", "greeting", true, true, MoveStatus::Waiting, false},
        {"active", "receiving", true, true, MoveStatus::Active, false},
        {"active", "ready", true, true, MoveStatus::Active, false},
        {"active", "ready", false, true, MoveStatus::Asking, true},
        {"postcopy-active", "postcopy", true, true, MoveStatus::Postcopy, true},
        {"completed", "completed", true, true, MoveStatus::Completed, true},
        {"failed", "failed", true, true, MoveStatus::Failed, false},
    };
    for (const Reading& reading : readings) {
        const Json info = {
            {"status", reading.status},
            {"drover", {{"state", reading.drover_state}, {"link-is-up", reading.link_is_up}}}};
        const MigrateReading read = read_migrate_info(info, reading.incoming);
        ASSERT_TRUE(read.status) << dump_json(info);
        EXPECT_EQ(to_string(*read.status), to_string(reading.expected)) << dump_json(info);
        EXPECT_EQ(guest_may_be_here(*read.status, reading.incoming), reading.guest_here)
            << dump_json(info);
    }
}

TEST(MigrateReading, TakesStockQemusAnswerToo)
{
    const Json info = {{"status", "completed"},
                       {"total-time", 1200},
                       {"downtime", 35},
                       {"ram", {{"total", 1000}, {"remaining", 0}}}};
    const MigrateReading read = read_migrate_info(info, false);
    EXPECT_EQ(read.status, MoveStatus::Completed);
    EXPECT_DOUBLE_EQ(read.total_time, 1.2);
    EXPECT_DOUBLE_EQ(read.downtime, 0.035);
    EXPECT_EQ(read_migrate_info({{"status", "setup"}}, true).status, MoveStatus::Waiting);
}

TEST(MigrateReading, DoesNotTakeAGuestsComingForItsGoing)
{
    const Json drover = {{"status", "completed"}, {"drover", {{"side", "destination"}}}};
    EXPECT_FALSE(read_migrate_info(drover, false).status);
    EXPECT_EQ(read_migrate_info(drover, true).status, MoveStatus::Completed);
    EXPECT_FALSE(read_migrate_info({{"status", "completed"}}, false).status);
    EXPECT_EQ(read_migrate_info({{"status", "failed"}}, false).status, MoveStatus::Failed);
}

TEST(MigrateReading, AddsUpWhatWasSent)
{
    const Json ram = {{"transferred", 1000}, {"postcopy-bytes", 300}};
    EXPECT_EQ(read_migrate_info({{"status", "active"}, {"ram", ram}}, false).transferred, 1000);
    const Json drover = {{"side", "source"}, {"state", "postcopy"}};
    EXPECT_EQ(read_migrate_info({{"status", "active"}, {"ram", ram}, {"drover", drover}}, false)
                  .transferred,
              1300);
}

TEST(TransferRate, IsOfTheLastSecondOrSo)
{
    const auto at = [](double seconds) {
        return TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(1000 + seconds)));
    };
    TransferRate rate;
    EXPECT_EQ(rate.update(0, at(0)), 0);
    EXPECT_DOUBLE_EQ(rate.update(500, at(0.5)), 1000);
    EXPECT_DOUBLE_EQ(rate.update(501, at(0.51)), 1000) << "too soon to make a rate of";
    EXPECT_DOUBLE_EQ(rate.update(1500, at(1.5)), 1000);
    EXPECT_DOUBLE_EQ(rate.update(1500, at(2.5)), 0);
    EXPECT_DOUBLE_EQ(rate.update(10, at(3.5)), 0) << "it began anew";
}

TEST(MigrateReading, BelievesNoNonsense)
{
    for (const Json& info :
         {Json(), Json::array(), Json("completed"), Json::object(), Json{{"status", 7}},
          Json{{"status", "none"}}, Json{{"status", "won"}}})
        EXPECT_FALSE(read_migrate_info(info, false).status) << dump_json(info);
    const Json odd = {
        {"status", "active"}, {"ram", {{"total", -1}, {"remaining", "x"}}}, {"downtime", {}}};
    const MigrateReading read = read_migrate_info(odd, false);
    EXPECT_EQ(read.total, 0);
    EXPECT_EQ(read.remaining, 0);
}

TEST(MigrationRecord, SurvivesTheWayThroughTheFile)
{
    MigrationRecord record;
    record.id = "m-1";
    record.vm = "web1";
    record.incoming = true;
    record.status = MoveStatus::Asking;
    record.uri = "tcp:h2:49152";
    record.guest_here = true;
    record.changed = 1.7e9;
    const auto back = migration_from_state(migration_state(record));
    ASSERT_TRUE(back);
    EXPECT_EQ(migration_state(*back), migration_state(record));
    EXPECT_FALSE(
        migration_from_state({{"migration", "../x"}, {"name", "v"}, {"status", "failed"}}));
    EXPECT_FALSE(migration_from_state({{"migration", "x"}, {"name", "v"}, {"status", "lost"}}));
}

} // namespace
} // namespace drover::balancer
