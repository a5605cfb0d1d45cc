// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/move_state.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace drover::balancer::cluster {

namespace {

constexpr std::array<std::string_view, move_states> state_names = {
    "planned", "preparing", "starting", "watching", "unknown", "completed", "failed", "closed"};
constexpr std::array<std::string_view, move_events> event_names = {
    "begin", "give-up", "prepared", "started",   "runs",
    "lost",  "stayed",  "moved",    "abandoned", "close"};

constexpr size_t longest_error = 1024; // it goes into the journal

struct Edge {
    MoveState from;
    MoveEvent event;
    MoveState to;
};

using enum MoveState;
constexpr std::array<Edge, 15> edges = {{
    {Planned, MoveEvent::Begin, Preparing},
    {Planned, MoveEvent::GiveUp, Closed},
    {Preparing, MoveEvent::Prepared, Starting},
    {Preparing, MoveEvent::GiveUp, Failed},
    {Starting, MoveEvent::Started, Watching},
    {Starting, MoveEvent::Lost, Unknown},
    {Watching, MoveEvent::Lost, Unknown},
    {Watching, MoveEvent::Stayed, Failed},
    {Watching, MoveEvent::Moved, Completed},
    {Unknown, MoveEvent::Runs, Watching},
    {Unknown, MoveEvent::Stayed, Failed},
    {Unknown, MoveEvent::Moved, Completed},
    {Failed, MoveEvent::Abandoned, Closed},
    {Failed, MoveEvent::Moved, Completed},
    {Completed, MoveEvent::Close, Closed},
}};

constexpr std::array<std::string_view, 7> known_status = {
    "preparing", "waiting", "active", "postcopy", "asking", "completed", "failed"};

std::optional<double> number_of(const Json& object, const char* key)
{
    const auto member = object.find(key);
    if (member == object.end() || !member->is_number())
        return std::nullopt;
    const double value = member->get<double>();
    if (!std::isfinite(value) || value < 0)
        return std::nullopt;
    return value;
}

Word nonsense(std::string complaint)
{
    Word word;
    word.complaint = std::move(complaint);
    return word;
}

} // namespace

std::string_view to_string(MoveState state)
{
    return state_names[static_cast<size_t>(state)];
}

std::string_view to_string(MoveEvent event)
{
    return event_names[static_cast<size_t>(event)];
}

std::optional<MoveState> move_state_from(std::string_view text)
{
    for (size_t i = 0; i < state_names.size(); ++i)
        if (state_names[i] == text)
            return static_cast<MoveState>(i);
    return std::nullopt;
}

std::optional<MoveState> transition(MoveState from, MoveEvent event)
{
    for (const Edge& edge : edges)
        if (edge.from == from && edge.event == event)
            return edge.to;
    return std::nullopt;
}

bool holds_vm(MoveState state)
{
    return state <= MoveState::Unknown;
}

Word read_word(const HostDoor::Answer& answer, const std::string& migration, const std::string& vm,
               std::string_view role)
{
    Word word;
    if (!answer) {
        word.kind = answer.error().never_heard() ? Word::Kind::Never : Word::Kind::Silent;
        word.complaint = answer.error().text;
        return word;
    }
    const Json& value = *answer;
    if (!value.is_object() || json_string(value, "migration") != migration ||
        json_string(value, "name") != vm || json_string(value, "role") != role)
        return nonsense("its answer is not about this migration");
    word.status = json_string(value, "status");
    if (word.status != "cancelled" &&
        std::find(known_status.begin(), known_status.end(), word.status) == known_status.end())
        return nonsense("its answer has no status that is known");
    // Unless it says otherwise, a source that did not let its guest go has it.
    const bool guest_here =
        json_bool(value, "guest-here", role == "source" && word.status != "completed");
    if (role == "source" && word.status == "completed" && guest_here)
        return nonsense("it says that the guest went, and that it is there");
    word.kind = Word::Kind::Says;
    word.error = json_string(value, "error").substr(0, longest_error);
    word.total = number_of(value, "total").value_or(0);
    word.remaining = number_of(value, "remaining").value_or(0);
    word.rate = number_of(value, "rate").value_or(0);
    word.guest_here = guest_here;
    word.held = json_bool(value, "held");
    word.guest_ran = json_bool(value, "guest-ran", true);
    word.downtime = number_of(value, "downtime");
    word.total_time = number_of(value, "total-time");
    return word;
}

Presence read_presence(const HostDoor::Answer& query_vms, const std::string& vm)
{
    if (!query_vms || !query_vms->is_array())
        return Presence::Unsure;
    for (const Json& entry : *query_vms) {
        if (!entry.is_object())
            return Presence::Unsure;
        if (json_string(entry, "name") != vm)
            continue;
        const std::string state = json_string(entry, "state");
        const bool at_rest = state == "running" || state == "paused";
        return at_rest && !entry.contains("migration") ? Presence::Present : Presence::Bound;
    }
    return Presence::Absent;
}

std::optional<MoveEvent> conclude(const Word& source, const Word& target, Presence at_source)
{
    if (source.kind == Word::Kind::Says) {
        if (source.status == "completed")
            return MoveEvent::Moved;
        if (source.status != "failed" && source.status != "cancelled")
            return MoveEvent::Runs;
        if (source.guest_here)
            return MoveEvent::Stayed;
        // Its emulator died, perhaps at the very end, and runs nothing: the target's may be the
        // one.
        if (target.says("completed") || (target.says("asking") && target.held))
            return MoveEvent::Moved;
        if (target.kind == Word::Kind::Silent)
            return std::nullopt;
        return MoveEvent::Stayed;
    }
    if (target.says("completed"))
        return MoveEvent::Moved;
    if (source.kind == Word::Kind::Silent || target.says("postcopy") || target.says("asking"))
        return std::nullopt; // alone, the target knows only that the guest came
    if (at_source == Presence::Present)
        return MoveEvent::Stayed;
    // Neither the migration nor the VM is known at the source. Unless the target has the guest, or
    // cannot be asked, nothing of the VM is left to be hurt, and vm-abandon looks once more.
    if (at_source == Presence::Absent && target.kind != Word::Kind::Silent)
        return MoveEvent::Stayed;
    return std::nullopt;
}

} // namespace drover::balancer::cluster
