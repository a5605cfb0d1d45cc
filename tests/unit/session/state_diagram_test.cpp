// SPDX-License-Identifier: GPL-2.0-or-later
//
// docs/architecture.md draws the two state machines. The drawing and the code are one: each edge of
// the one is an edge of the other, and every other pair of states is refused.
#include "migration/session/destination_state.h"
#include "migration/session/source_state.h"
#include "util/fd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace drover {
namespace {

using Edge = std::pair<std::string, std::string>;

/// What a diagram says. "[*]" stands for both ends.
struct Diagram {
    std::set<Edge> edges;
    std::string first;
    std::set<std::string> finals;
};

/// "TakingOver" → "taking-over": the names in the log and in query-migrate.
std::string name_of(const std::string& state)
{
    std::string name;
    for (char c : state) {
        if (std::isupper(static_cast<unsigned char>(c)) && !name.empty())
            name += '-';
        name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return name;
}

void add_edge(Diagram& diagram, const std::string& line)
{
    std::istringstream words(line);
    std::string from, arrow, to;
    words >> from >> arrow >> to;
    if (arrow != "-->")
        return;
    if (const size_t colon = to.find(':'); colon != std::string::npos)
        to.resize(colon);
    if (from == "[*]")
        diagram.first = name_of(to);
    else if (to == "[*]")
        diagram.finals.insert(name_of(from));
    else
        EXPECT_TRUE(diagram.edges.emplace(name_of(from), name_of(to)).second)
            << "drawn twice: " << line;
}

/// The mermaid block that follows the heading.
Diagram read_diagram(const std::string& heading)
{
    const auto text = read_file(DROVER_SOURCE_ROOT "/docs/architecture.md");
    if (!text) {
        ADD_FAILURE() << text.error().text();
        return {};
    }
    Diagram diagram;
    const size_t start = text->find("stateDiagram-v2", text->find("\n" + heading + "\n"));
    if (start == std::string::npos) {
        ADD_FAILURE() << "there is no diagram under the heading " << heading;
        return {};
    }
    std::istringstream lines(text->substr(start, text->find("```", start) - start));
    for (std::string line; std::getline(lines, line);)
        add_edge(diagram, line);
    return diagram;
}

template <typename State> std::vector<State> all_states()
{
    std::vector<State> states;
    for (int i = 0; to_string(static_cast<State>(i)) != "unknown"; ++i)
        states.push_back(static_cast<State>(i));
    return states;
}

/// Every pair of states, a state and itself included: what is not drawn is illegal.
template <typename State> void compare(const std::string& heading, size_t state_count)
{
    const Diagram diagram = read_diagram(heading);
    const std::vector<State> states = all_states<State>();
    ASSERT_EQ(states.size(), state_count);
    std::set<std::string> names;
    for (State from : states) {
        names.emplace(to_string(from));
        for (State to : states) {
            const Edge edge(to_string(from), to_string(to));
            EXPECT_EQ(may_follow(from, to), diagram.edges.contains(edge))
                << edge.first << " → " << edge.second << " is "
                << (diagram.edges.contains(edge) ? "drawn, but refused" : "allowed, but not drawn");
        }
        EXPECT_EQ(is_final(from), diagram.finals.contains(std::string(to_string(from))))
            << to_string(from);
    }
    for (const auto& [from, to] : diagram.edges)
        EXPECT_TRUE(names.contains(from) && names.contains(to))
            << "no such states: " << from << " → " << to;
    EXPECT_EQ(diagram.first, to_string(State{}));
}

/// The states that can be reached from `from`, itself included.
template <typename State> std::set<State> reachable(State from)
{
    std::set<State> found{from};
    for (std::vector<State> open{from}; !open.empty();) {
        const State at = open.back();
        open.pop_back();
        for (State to : all_states<State>())
            if (may_follow(at, to) && found.insert(to).second)
                open.push_back(to);
    }
    return found;
}

TEST(StateDiagram, SourceIsAsDrawn)
{
    compare<SourceState>("### The source", 15);
}

TEST(StateDiagram, DestinationIsAsDrawn)
{
    compare<DestinationState>("### The destination", 12);
}

TEST(StateDiagram, SourceGivesTheGuestAwayByCommittingOnly)
{
    for (SourceState from : all_states<SourceState>())
        if (may_follow(from, SourceState::Completed)) {
            EXPECT_FALSE(is_before_commit(from)) << to_string(from);
            EXPECT_TRUE(from == SourceState::Committing || from == SourceState::Asking ||
                        is_postcopy(from))
                << to_string(from);
        }
    // Once it unwinds, the guest stays: nothing leads back to giving it away.
    EXPECT_EQ(reachable(SourceState::Unwinding),
              (std::set{SourceState::Unwinding, SourceState::Failed}));
}

TEST(StateDiagram, SourceCanAlwaysGiveUpBeforeTheCommit)
{
    for (SourceState from : all_states<SourceState>())
        if (is_before_commit(from)) {
            EXPECT_TRUE(may_follow(from, SourceState::Unwinding)) << to_string(from);
            EXPECT_FALSE(may_follow(from, SourceState::Failed))
                << to_string(from) << ": the guest would be left paused";
        }
}

TEST(StateDiagram, DestinationRunsTheGuestAfterReadyOnly)
{
    for (DestinationState from : all_states<DestinationState>()) {
        EXPECT_EQ(may_follow(from, DestinationState::TakingOver), from == DestinationState::Ready)
            << to_string(from);
        EXPECT_EQ(may_follow(from, DestinationState::Completed),
                  from == DestinationState::TakingOver || is_postcopy(from))
            << to_string(from);
    }
}

TEST(StateDiagram, EveryStateCanBeReachedAndLeavesToAnEnd)
{
    EXPECT_EQ(reachable(SourceState{}).size(), all_states<SourceState>().size());
    EXPECT_EQ(reachable(DestinationState{}).size(), all_states<DestinationState>().size());
    for (SourceState from : all_states<SourceState>())
        EXPECT_TRUE(reachable(from).contains(SourceState::Completed) ||
                    reachable(from).contains(SourceState::Failed))
            << to_string(from);
    for (DestinationState from : all_states<DestinationState>())
        EXPECT_TRUE(reachable(from).contains(DestinationState::Completed) ||
                    reachable(from).contains(DestinationState::Failed))
            << to_string(from);
}

} // namespace
} // namespace drover
