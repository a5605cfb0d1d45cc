// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/move_state.h"

#include <gtest/gtest.h>
#include <set>

namespace drover::balancer::cluster {
namespace {

using State = MoveState;
using Event = MoveEvent;

const std::set<std::tuple<State, Event, State>> legal = {
    {State::Planned, Event::Begin, State::Preparing},
    {State::Planned, Event::GiveUp, State::Closed},
    {State::Preparing, Event::Prepared, State::Starting},
    {State::Preparing, Event::GiveUp, State::Failed},
    {State::Starting, Event::Started, State::Watching},
    {State::Starting, Event::Lost, State::Unknown},
    {State::Watching, Event::Lost, State::Unknown},
    {State::Watching, Event::Stayed, State::Failed},
    {State::Watching, Event::Moved, State::Completed},
    {State::Unknown, Event::Runs, State::Watching},
    {State::Unknown, Event::Stayed, State::Failed},
    {State::Unknown, Event::Moved, State::Completed},
    {State::Failed, Event::Abandoned, State::Closed},
    {State::Failed, Event::Moved, State::Completed},
    {State::Completed, Event::Close, State::Closed},
};

TEST(MoveState, has_these_edges_and_no_other)
{
    size_t found = 0;
    for (int s = 0; s < move_states; ++s) {
        for (int e = 0; e < move_events; ++e) {
            const auto from = static_cast<State>(s);
            const auto event = static_cast<Event>(e);
            const auto to = transition(from, event);
            if (!to)
                continue;
            ++found;
            EXPECT_TRUE(legal.contains({from, event, *to}))
                << to_string(from) << " " << to_string(event) << " " << to_string(*to);
        }
    }
    EXPECT_EQ(found, legal.size());
}

TEST(MoveState, can_be_given_up_only_while_the_source_was_told_nothing)
{
    for (int s = 0; s < move_states; ++s) {
        const auto state = static_cast<State>(s);
        EXPECT_EQ(transition(state, Event::GiveUp).has_value(),
                  state == State::Planned || state == State::Preparing);
    }
}

TEST(MoveState, is_known_by_its_name)
{
    for (int s = 0; s < move_states; ++s)
        EXPECT_EQ(move_state_from(to_string(static_cast<State>(s))), static_cast<State>(s));
    EXPECT_FALSE(move_state_from("lost"));
}

Word says(const char* status)
{
    Word word;
    word.kind = Word::Kind::Says;
    word.status = status;
    word.guest_here = true;
    return word;
}

Word never()
{
    Word word;
    word.kind = Word::Kind::Never;
    return word;
}

TEST(Conclusion, the_sources_word_decides)
{
    for (const Word& target : {Word{}, never(), says("waiting"), says("completed")}) {
        EXPECT_EQ(conclude(says("completed"), target, Presence::Unsure), Event::Moved);
        EXPECT_EQ(conclude(says("failed"), target, Presence::Unsure), Event::Stayed);
        EXPECT_EQ(conclude(says("cancelled"), target, Presence::Unsure), Event::Stayed);
        for (const char* status : {"preparing", "active", "postcopy", "asking"})
            EXPECT_EQ(conclude(says(status), target, Presence::Unsure), Event::Runs);
    }
}

TEST(Conclusion, a_source_whose_emulator_died_runs_nothing)
{
    Word source = says("failed");
    source.guest_here = false;
    Word held = says("asking");
    held.held = true;
    EXPECT_EQ(conclude(source, held, Presence::Absent), Event::Moved);
    EXPECT_EQ(conclude(source, says("completed"), Presence::Absent), Event::Moved);
    EXPECT_EQ(conclude(source, says("failed"), Presence::Absent), Event::Stayed);
    EXPECT_EQ(conclude(source, never(), Presence::Absent), Event::Stayed);
    EXPECT_FALSE(conclude(source, Word{}, Presence::Absent)) << "the target may have the guest";
}

TEST(Conclusion, without_the_source_only_the_guests_arrival_is_certain)
{
    EXPECT_EQ(conclude({}, says("completed"), Presence::Unsure), Event::Moved);
    for (const Word& target : {Word{}, never(), says("waiting"), says("active"), says("postcopy"),
                               says("asking"), says("failed")})
        EXPECT_FALSE(conclude({}, target, Presence::Unsure)) << target.status;
}

TEST(Conclusion, a_source_that_never_heard_of_it_must_show_the_guest)
{
    EXPECT_EQ(conclude(never(), {}, Presence::Present), Event::Stayed);
    EXPECT_FALSE(conclude(never(), {}, Presence::Absent)); // the target may have it
    EXPECT_FALSE(conclude(never(), {}, Presence::Bound));
    EXPECT_FALSE(conclude(never(), says("waiting"), Presence::Unsure));
    EXPECT_EQ(conclude(never(), says("completed"), Presence::Absent), Event::Moved);
    EXPECT_EQ(conclude(never(), never(), Presence::Absent), Event::Stayed); // it is on neither
    for (const char* status : {"postcopy", "asking"})
        EXPECT_FALSE(conclude(never(), says(status), Presence::Absent)) << status;
}

TEST(Word, is_believed_only_about_its_migration)
{
    const Json good = {{"migration", "m-1"}, {"name", "a"},     {"role", "source"},
                       {"status", "active"}, {"total", 5000.0}, {"remaining", -3}};
    EXPECT_TRUE(read_word(good, "m-1", "a", "source").says("active"));
    EXPECT_EQ(read_word(good, "m-1", "a", "source").total, 5000);
    EXPECT_EQ(read_word(good, "m-1", "a", "source").remaining, 0);
    EXPECT_EQ(read_word(good, "m-2", "a", "source").kind, Word::Kind::Silent);
    EXPECT_EQ(read_word(good, "m-1", "b", "source").kind, Word::Kind::Silent);
    EXPECT_EQ(read_word(good, "m-1", "a", "destination").kind, Word::Kind::Silent);
    for (const auto& [key, value] : std::map<std::string, Json>{
             {"status", "done"}, {"status", 7}, {"migration", nullptr}, {"name", Json::array()}}) {
        Json bad = good;
        bad[key] = value;
        EXPECT_EQ(read_word(bad, "m-1", "a", "source").kind, Word::Kind::Silent) << bad;
    }
    Json torn = good;
    torn["status"] = "completed";
    torn["guest-here"] = true;
    EXPECT_EQ(read_word(torn, "m-1", "a", "source").kind, Word::Kind::Silent);
}

TEST(Word, only_device_not_found_means_never)
{
    using Kind = DoorError::Kind;
    const auto word = [](DoorError error) {
        return read_word(std::unexpected(std::move(error)), "m-1", "a", "source").kind;
    };
    EXPECT_EQ(word({Kind::Refused, "DeviceNotFound", ""}), Word::Kind::Never);
    EXPECT_EQ(word({Kind::Refused, "GenericError", ""}), Word::Kind::Silent);
    EXPECT_EQ(word({Kind::Lost, "DeviceNotFound", ""}), Word::Kind::Silent);
}

} // namespace
} // namespace drover::balancer::cluster
