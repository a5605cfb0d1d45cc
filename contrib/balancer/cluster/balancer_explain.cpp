// SPDX-License-Identifier: GPL-2.0-or-later
//
// Why something was, or was not, moved: in words.
#include "contrib/balancer/cluster/balancer.h"

#include <algorithm>
#include <cstdio>

namespace drover::balancer::cluster {

namespace {

std::string figure(double value, const char* unit)
{
    char text[48];
    snprintf(text, sizeof text, "%.3g %s", value, unit);
    return text;
}

std::string describe_cost(const MoveCost& cost, bool estimated)
{
    return std::string(estimated ? "estimated" : "foretold by the guest") + ": " +
           figure(cost.seconds, "s") + ", " + figure(cost.bytes / 1e6, "MB") + ", " +
           figure(cost.downtime * 1e3, "ms downtime");
}

void add_line(std::string& text, const std::string& line)
{
    text += (text.empty() ? "" : "\n") + line;
}

/// The lines of `list` (rejected, verdicts) about this one.
void add_about(std::string& text, const Json& list, const char* key, const std::string& value)
{
    for (const Json& entry : list) {
        if (json_string(entry, key) != value)
            continue;
        const std::string to = json_string(entry, "to");
        const std::string word = json_string(entry, "reason", json_string(entry, "verdict"));
        add_line(text,
                 (to.empty() ? "" : "to " + to + ": ") + word + ": " + json_string(entry, "why"));
    }
}

} // namespace

Result<Json> Balancer::explain(const std::string& id)
{
    const auto answer = [&](const char* kind, std::string text) {
        return Json{{"id", id}, {"kind", kind}, {"text", std::move(text)}};
    };
    for (const PlannedMove& planned : planned(id)) {
        if (planned.id != id)
            break; // the plan as a whole, below
        const ChosenMove& move = planned.move;
        std::string text = move.vm + " from " + move.from + " to " + move.to + " (" +
                           planned.state + "): " + move.why;
        add_line(text, describe_cost(move.cost, move.estimated));
        if (!planned.note.empty())
            add_line(text, planned.note);
        return answer("move", text);
    }
    if (auto record = parts_.journal.find_move(id); record && *record) {
        auto text = explain_migration(**record);
        if (!text)
            return pass(text);
        Json told = answer("migration", *text);
        told["migration"] = move_json(**record, nullptr);
        return told;
    }
    if (const std::string text = explain_hotspot(id); !text.empty())
        return answer("hotspot", text);
    if (auto kept = parts_.journal.plan(id); kept && kept->is_object()) {
        std::string text = "plan " + id;
        for (const Json& move : (*kept)["moves"])
            add_line(text, json_string(move, "vm") + " from " + json_string(move, "from") + " to " +
                               json_string(move, "to") + ": " + json_string(move, "why"));
        return answer("plan", text);
    }
    if (fleet_.host(id) != nullptr)
        return answer("host", explain_host(id));
    if (fleet_.locate(id).host != nullptr)
        return answer("vm", explain_vm(id));
    return fail(ErrorKind::Invalid, "nothing is known of '" + id + "'",
                "give the ID of a hotspot, plan, move or migration, or the name of a VM or host");
}

Result<std::string> Balancer::explain_migration(const MoveRecord& record)
{
    std::string text = record.vm + " from " + record.from + " to " + record.to + ": " + record.why;
    add_line(text, describe_cost(record.cost, true));
    auto steps = parts_.journal.steps(record.id);
    if (!steps)
        return pass(steps);
    for (const Journal::Step& step : *steps)
        add_line(text, figure(step.time - record.created, "s") + "  " + step.state +
                           (step.note.empty() ? "" : ": " + step.note));
    if (record.total_time && record.downtime)
        add_line(text, "it took " + figure(*record.total_time, "s") +
                           ", the guest stood still for " + figure(*record.downtime * 1e3, "ms"));
    if (const Move* move = mover_.find(record.id); move != nullptr && !move->waits_for().empty())
        add_line(text, "it waits: " + move->waits_for());
    return text;
}

std::string Balancer::explain_hotspot(const std::string& id) const
{
    std::string text;
    for (const ShownHotspot& spot : hotspots_)
        if (spot.id == id)
            add_line(text, spot.text);
    if (text.empty()) {
        const auto kept = parts_.journal.hotspot(id);
        if (kept && kept->is_object())
            add_line(text, json_string(*kept, "kind") + " of " + json_string(*kept, "host") + " (" +
                               json_string(*kept, "state") + "): " + json_string(*kept, "cause"));
        return text;
    }
    add_about(text, plan_.verdicts, "hotspot", id);
    for (const Json& entry : plan_.rejected)
        if (json_string(entry, "hotspot") == id)
            add_line(text, "not " + json_string(entry, "vm") +
                               (entry.contains("to") ? " to " + json_string(entry, "to") : "") +
                               ": " + json_string(entry, "why"));
    if (mode_ == Mode::Off)
        add_line(text, "nothing is planned: the mode is off");
    return text;
}

std::string Balancer::explain_vm(const std::string& vm) const
{
    const Fleet::Place place = fleet_.locate(vm);
    std::string text = vm + " is on " + place.host->config.name + " (" + place.vm->state + ")";
    if (place.twice)
        add_line(text, "two hosts say that they have it: it is not touched until that is cleared");
    if (const Move* move = mover_.of_vm(vm))
        add_line(text, "it is being moved to " + move->record().to + " (" + move->record().id +
                           "): " + move->record().why);
    if (const std::string why = place.vm->standstill(); !why.empty() && place.vm->state != "moving")
        add_line(text, "it cannot be moved: " + why);
    if (is_pinned(place))
        add_line(text, "it is pinned: only a user moves it");
    if (const double pause = mover_.vm_pauses().left(vm, parts_.time.now()); pause > 0)
        add_line(text, "its last migration failed: it is left alone for " + figure(pause, "s"));
    if (const std::string complaint = forecasts_.complaint(vm); !complaint.empty())
        add_line(text, "what a migration costs is estimated: " + complaint);
    for (const PlannedMove& planned : plan_.moves)
        if (planned.move.vm == vm)
            add_line(text, "plan " + planned.id + ": to " + planned.move.to + " (" + planned.state +
                               "): " + planned.move.why);
    add_about(text, plan_.rejected, "vm", vm);
    if (text.find('\n') == std::string::npos)
        add_line(text, "there is no cause to move it");
    return text;
}

std::string Balancer::explain_host(const std::string& name)
{
    const FleetHost& host = *fleet_.host(name);
    std::string text = name + " is " + (host.up ? "up" : "unreachable");
    if (host.config.maintenance)
        add_line(text, "in maintenance: nothing is moved to it");
    if (evacuating_.contains(name))
        add_line(text, "being evacuated: nothing is moved to it, and all its VMs are to leave");
    if (evacuating_.contains(name))
        for (const Json& guest : remaining_on(name))
            add_line(text,
                     json_string(guest, "vm") + " is still there: " + json_string(guest, "why"));
    if (const double pause = mover_.host_pauses().left(name, parts_.time.now()); pause > 0)
        add_line(text, "it failed to make ready for a VM: nothing is moved to it for " +
                           figure(pause, "s"));
    for (const ShownHotspot& spot : hotspots_) {
        if (spot.host != name)
            continue;
        add_line(text, spot.id + ": " + spot.text);
        add_about(text, plan_.verdicts, "hotspot", spot.id);
    }
    add_about(text, plan_.rejected, "to", name);
    return text;
}

} // namespace drover::balancer::cluster
