// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/journal.h"

#include "tests/unit/balancer/cluster/fake_fleet.h"
#include "tests/unit/balancer/cluster/temporary_directory.h"

#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer::cluster::testing {
namespace {

class JournalTest : public ::testing::Test {
protected:
    std::unique_ptr<Journal> open()
    {
        auto journal = Journal::open(path(), time_);
        EXPECT_TRUE(journal) << journal.error().text();
        return journal ? std::move(*journal) : nullptr;
    }
    [[nodiscard]] std::string path() const { return directory_.path() + "/journal"; }

    static MoveRecord record(const std::string& id, const std::string& vm)
    {
        MoveRecord record;
        record.id = id;
        record.vm = vm;
        record.from = "a";
        record.to = "b";
        record.definition = {{"name", vm}, {"command", {"-m", "1G"}}};
        record.policy = "downtime=50ms";
        record.why = "a's processors are at 95 %";
        record.wish = "plan";
        record.cost = {12.5, 1e9, 0.04};
        record.created = record.changed = 1.7e9;
        return record;
    }

    TemporaryDirectory directory_;
    VirtualTime time_;
};

TEST_F(JournalTest, keeps_a_migration_over_a_restart)
{
    MoveRecord before = record("m-1", "web");
    {
        const auto journal = open();
        ASSERT_TRUE(journal->add(before));
        before.state = MoveState::Starting;
        before.uri = "tcp:b:4444";
        before.cancel = true;
        before.downtime = 0.02;
        ASSERT_TRUE(journal->step(before, "tcp:b:4444"));
    }
    const auto journal = open();
    const auto open_moves = journal->open_moves();
    ASSERT_TRUE(open_moves);
    ASSERT_EQ(open_moves->size(), 1U);
    const MoveRecord& after = open_moves->front();
    EXPECT_EQ(after.id, before.id);
    EXPECT_EQ(after.definition, before.definition);
    EXPECT_EQ(after.policy, before.policy);
    EXPECT_EQ(after.why, before.why);
    EXPECT_EQ(after.state, MoveState::Starting);
    EXPECT_EQ(after.uri, "tcp:b:4444");
    EXPECT_TRUE(after.cancel);
    EXPECT_EQ(after.cost.bytes, 1e9);
    EXPECT_EQ(after.downtime, 0.02);
    EXPECT_FALSE(after.total_time);
    const auto steps = journal->steps("m-1");
    ASSERT_TRUE(steps);
    ASSERT_EQ(steps->size(), 2U);
    EXPECT_EQ((*steps)[0].state, "planned");
    EXPECT_EQ((*steps)[1].note, "tcp:b:4444");
}

TEST_F(JournalTest, gives_a_vm_to_one_migration_only)
{
    const auto journal = open();
    MoveRecord first = record("m-1", "web");
    ASSERT_TRUE(journal->add(first));
    EXPECT_FALSE(journal->add(record("m-2", "web")));
    EXPECT_TRUE(journal->add(record("m-3", "db")));
    first.state = MoveState::Failed; // where it is only being cleaned up
    ASSERT_TRUE(journal->step(first, ""));
    EXPECT_TRUE(journal->add(record("m-2", "web")));
}

TEST_F(JournalTest, is_had_by_one_balancer_only)
{
    const auto journal = open();
    const auto second = Journal::open(path(), time_);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().hint.find("another drover-balancer"), std::string::npos)
        << second.error().text();
}

TEST_F(JournalTest, sets_a_broken_file_aside)
{
    {
        const auto journal = open();
        ASSERT_TRUE(journal->add(record("m-1", "web")));
    }
    std::ofstream(path(), std::ios::in | std::ios::out).write("this is no database", 19);
    const auto journal = open();
    EXPECT_NE(journal->notice().find("set aside"), std::string::npos);
    EXPECT_TRUE(journal->open_moves()->empty());
    EXPECT_TRUE(journal->add(record("m-2", "web")));
    int aside = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path()))
        aside += entry.path().string().find(".broken-") != std::string::npos;
    EXPECT_GE(aside, 1);
}

TEST_F(JournalTest, refuses_a_newer_format_without_touching_it)
{
    {
        auto database = sql::Database::open(path());
        ASSERT_TRUE(database);
        ASSERT_TRUE(database->execute("PRAGMA user_version=99; CREATE TABLE future (x)"));
    }
    const auto journal = Journal::open(path(), time_);
    ASSERT_FALSE(journal);
    EXPECT_NE(journal.error().text().find("newer"), std::string::npos);
    EXPECT_TRUE(sql::Database::open(path())->execute("SELECT x FROM future"));
}

TEST_F(JournalTest, a_full_disk_changes_nothing_and_is_told)
{
    const auto journal = open();
    ASSERT_TRUE(journal->add(record("m-1", "web")));
    ASSERT_TRUE(journal->limit_pages(1));
    MoveRecord large = record("m-2", "db");
    large.why = std::string(100'000, 'x');
    const Status full = journal->add(large);
    ASSERT_FALSE(full);
    EXPECT_NE(full.error().text().find("make room"), std::string::npos) << full.error().text();
    EXPECT_FALSE(journal->trouble().empty());
    EXPECT_EQ(journal->open_moves()->size(), 1U);
    ASSERT_TRUE(journal->limit_pages(0));
    EXPECT_TRUE(journal->add(large));
    EXPECT_TRUE(journal->trouble().empty());
}

TEST_F(JournalTest, is_mended_with_what_is_known)
{
    const auto journal = open();
    const MoveRecord known = record("m-1", "web");
    ASSERT_TRUE(journal->add(known));
    std::filesystem::remove(path() + "-wal");
    std::filesystem::remove(path()); // what is open stays another file
    std::ofstream(path()).write("this is no database any more", 28);
    ASSERT_TRUE(journal->mend({known}));
    EXPECT_EQ(journal->open_moves()->size(), 1U);
    EXPECT_FALSE(journal->notice().empty());
}

TEST_F(JournalTest, forgets_what_is_old_but_never_what_is_open)
{
    const auto journal = open();
    MoveRecord over = record("m-1", "web");
    over.created = over.changed = time_.wall() - 400 * 86400.0;
    MoveRecord open_one = record("m-2", "db");
    open_one.created = open_one.changed = over.created;
    ASSERT_TRUE(journal->add(over));
    ASSERT_TRUE(journal->add(open_one));
    over.state = MoveState::Closed;
    ASSERT_TRUE(journal->step(over, ""));
    ASSERT_TRUE(journal->prune());
    const auto left = journal->latest_moves(10, "");
    ASSERT_EQ(left->size(), 1U);
    EXPECT_EQ(left->front().id, "m-2");
    EXPECT_FALSE(journal->history(10, "web")->empty());
}

TEST_F(JournalTest, keeps_plans_hotspots_and_settings)
{
    const auto journal = open();
    ASSERT_TRUE(journal->keep_plan("p-1", {{"moves", Json::array()}}));
    ASSERT_TRUE(journal->keep_hotspots({{{{"kind", "cpu"}}, {.what = "hotspot", .id = "h-1"}}}));
    ASSERT_TRUE(journal->set("mode", "automatic"));
    EXPECT_EQ(*journal->plan("p-1"), Json({{"moves", Json::array()}}));
    EXPECT_EQ((*journal->hotspot("h-1"))["kind"], "cpu");
    EXPECT_TRUE(journal->plan("p-2")->is_null());
    EXPECT_EQ(*journal->get("mode"), "automatic");
    EXPECT_EQ(*journal->get("else"), "");
}

} // namespace
} // namespace drover::balancer::cluster::testing
