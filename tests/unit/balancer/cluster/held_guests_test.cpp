// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/held_guests.h"

#include <gtest/gtest.h>
#include <vector>

namespace drover::balancer::cluster {
namespace {

class HandClock : public TimeSource {
public:
    [[nodiscard]] double now() const override { return time; }
    [[nodiscard]] double wall() const override { return time; }
    double time = 1000;
};

/// A droverd that says one thing of the migration, and remembers what it was told to do.
class ScriptedDoor : public HostDoor {
public:
    [[nodiscard]] bool is_up() const override { return up; }
    void execute(const std::string& command, Json arguments, Reply reply) override
    {
        if (command == "query-vm-migration") {
            ++asked;
            replies.push_back([this, reply] { reply(word); });
        } else {
            told.emplace_back(command, std::move(arguments));
        }
    }
    void answer()
    {
        for (const auto& reply : std::exchange(replies, {}))
            reply();
    }

    bool up = true;
    int asked = 0;
    Answer word;
    std::vector<std::pair<std::string, Json>> told;
    std::vector<std::function<void()>> replies;
};

Json word_of(const std::string& role, const std::string& status)
{
    return {{"migration", "m-1"}, {"name", "web1"}, {"role", role}, {"status", status}};
}

class HeldGuestsTest : public ::testing::Test {
protected:
    HeldGuestsTest()
    {
        Json target = word_of("destination", "asking");
        target.update(Json{{"held", true}, {"source-host", "h1"}});
        destination.word = target;
    }

    void says(const std::string& status, const Json& more = Json::object())
    {
        Json word = word_of("source", status);
        word.update(more);
        source.word = word;
    }

    /// Seen once, and again when whoever began it has had its time.
    void seen_for_long()
    {
        held->seen("h2", "web1", "m-1");
        clock.time += 6;
        held->seen("h2", "web1", "m-1");
        destination.answer();
        source.answer();
    }

    HandClock clock;
    ScriptedDoor source;
    ScriptedDoor destination;
    DoorFinder find = [this](const std::string& host) -> HostDoor* {
        if (host == "h1")
            return &source;
        return host == "h2" ? &destination : nullptr;
    };
    std::unique_ptr<HeldGuests> held = std::make_unique<HeldGuests>(find, clock);
};

TEST_F(HeldGuestsTest, runs_where_its_source_says_that_it_went)
{
    says("completed", {{"guest-ran", true}});
    seen_for_long();
    ASSERT_EQ(destination.told.size(), 1U);
    EXPECT_EQ(destination.told[0].first, "vm-confirm");
    EXPECT_TRUE(json_bool(destination.told[0].second, "run"));
}

TEST_F(HeldGuestsTest, stays_paused_if_it_was)
{
    says("completed", {{"guest-ran", false}});
    seen_for_long();
    ASSERT_EQ(destination.told.size(), 1U);
    EXPECT_FALSE(json_bool(destination.told[0].second, "run", true));
}

TEST_F(HeldGuestsTest, runs_where_its_sources_emulator_died)
{
    says("failed", {{"guest-here", false}});
    seen_for_long();
    ASSERT_EQ(destination.told.size(), 1U);
    EXPECT_EQ(destination.told[0].first, "vm-confirm");
}

TEST_F(HeldGuestsTest, is_ended_where_its_source_runs_it)
{
    for (const char* status : {"failed", "cancelled"}) {
        says(status, {{"guest-here", true}});
        seen_for_long();
        ASSERT_EQ(destination.told.size(), 1U) << status;
        EXPECT_EQ(destination.told[0].first, "vm-abandon");
        EXPECT_TRUE(json_bool(destination.told[0].second, "guest-at-source"));
        destination.told.clear();
    }
}

/// An older droverd does not know the word: it must not be taken for "my emulator died".
TEST_F(HeldGuestsTest, a_source_that_does_not_say_where_it_is_has_it)
{
    says("failed");
    seen_for_long();
    ASSERT_EQ(destination.told.size(), 1U);
    EXPECT_EQ(destination.told[0].first, "vm-abandon");
}

TEST_F(HeldGuestsTest, stands_while_its_source_says_nothing_final)
{
    for (const char* status : {"active", "asking", "preparing"}) {
        says(status);
        seen_for_long();
        EXPECT_EQ(source.asked, 1) << status;
        source.asked = 0;
    }
    for (const auto kind : {DoorError::Kind::Refused, DoorError::Kind::Lost}) {
        source.word = std::unexpected(DoorError{kind, "DeviceNotFound", "never heard of it"});
        seen_for_long();
    }
    Json other = word_of("source", "completed"); // of another VM
    other["name"] = "web2";
    source.word = other;
    seen_for_long();
    EXPECT_TRUE(destination.told.empty());
}

TEST_F(HeldGuestsTest, whoever_began_it_has_its_time_first)
{
    says("completed");
    held->seen("h2", "web1", "m-1");
    clock.time += 4;
    held->seen("h2", "web1", "m-1");
    EXPECT_EQ(destination.asked, 0);
    clock.time += 2;
    held->seen("h2", "web1", "m-1");
    held->seen("h2", "web1", "m-1");
    EXPECT_EQ(destination.asked, 1) << "and it is not asked twice at once";
}

TEST_F(HeldGuestsTest, one_that_nobody_holds_or_that_is_not_a_balancers_is_left_alone)
{
    says("completed");
    Json target = word_of("destination", "asking");
    target["source-host"] = "h1";
    destination.word = target; // Drover's own asking: the two sides settle it
    seen_for_long();
    EXPECT_EQ(source.asked, 0);
    held->seen("h2", "web1", "by-hand");
    clock.time += 6;
    held->seen("h2", "web1", "by-hand");
    EXPECT_EQ(destination.asked, 1);
    EXPECT_TRUE(destination.told.empty());
}

TEST_F(HeldGuestsTest, an_answer_that_comes_when_it_is_gone_harms_nothing)
{
    says("completed");
    held->seen("h2", "web1", "m-1");
    clock.time += 6;
    held->seen("h2", "web1", "m-1");
    held.reset();
    destination.answer();
    EXPECT_EQ(source.asked, 0);
}

} // namespace
} // namespace drover::balancer::cluster
