// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_views.h"

#include <algorithm>
#include <cmath>
#include <ctime>

namespace drover::tools {

namespace {

using Cell = FleetTable::Cell;

Cell load_cell(double share, bool known)
{
    return known ? Cell{percent(share), colour_of_load(share)} : Cell{"-", Colour::Dim};
}

std::string local_time(double seconds)
{
    const auto whole = static_cast<time_t>(std::min(seconds, 2.5e11)); // to the year 9892
    tm parts = {};
    char text[64] = "";
    if (localtime_r(&whole, &parts))
        strftime(text, sizeof text, "%F %T", &parts);
    return text;
}

std::string joined(const Json& list)
{
    std::string text;
    for (const Json& word : list) {
        if (word.is_string())
            text += (text.empty() ? "" : ", ") + clean(word.get_ref<const std::string&>());
    }
    return text;
}

std::string cost_text(const Json& cost)
{
    return seconds_text(json_quantity(cost, "seconds")) + ", " +
           bytes_text(json_quantity(cost, "bytes")) + ", pause " +
           seconds_text(json_quantity(cost, "downtime"));
}

std::string gain_text(const Json& move)
{
    char text[64];
    snprintf(text, sizeof text, "%.2f", std::min(json_quantity(move, "gain"), 1e9));
    return text;
}

} // namespace

HostShares HostShares::of(const Json& load)
{
    const auto share = [](double part, double whole) { return whole > 0 ? part / whole : 0; };
    HostShares shares;
    shares.cpu = share(json_quantity(load, "cpu-busy"), json_quantity(load, "cores"));
    const double total = json_quantity(load, "memory-total");
    shares.memory = share(total - std::min(total, json_quantity(load, "memory-available")), total);
    for (const Json& nic : list_in(load, "nics"))
        shares.net =
            std::max(shares.net, share(std::max(json_quantity(nic, "rx"), json_quantity(nic, "tx")),
                                       json_quantity(nic, "capacity")));
    return shares;
}

Colour colour_of_state(const std::string& state)
{
    if (state == "up" || state == "running" || state == "done" || state == "completed")
        return Colour::Green;
    if (state == "failed" || state == "unreachable" || state == "stale")
        return Colour::Red;
    return state.empty() ? Colour::None : Colour::Yellow;
}

std::string show_hosts(const Json& hosts, const FleetView& view)
{
    FleetTable table({"HOST", "STATE", "GROUP", ">CPU", ">MEMORY", ">NET", ">SWAP-OUT", ">VMS",
                      ">IN", ">OUT", "HOTSPOTS"});
    for (const Json& host : hosts) {
        const Json& load = object_in(host, "load");
        const bool known = !load.empty();
        const HostShares shares = HostShares::of(load);
        const std::string state = text_in(host, "state");
        const auto count = [&](const char* key) { return std::to_string(json_u64(host, key)); };
        table.add(
            {{text_in(host, "name") + (json_bool(host, "slice") ? " (slice)" : ""), Colour::Bold},
             {state, colour_of_state(state)},
             {text_in(host, "group")},
             load_cell(shares.cpu, known),
             load_cell(shares.memory, known),
             load_cell(shares.net, known),
             {known ? bytes_text(json_quantity(load, "swap-out")) + "/s" : "-"},
             {count("vms")},
             {count("migrations-in")},
             {count("migrations-out")},
             {joined(list_in(host, "hotspots")), Colour::Red}});
    }
    return table.empty() ? "no hosts\n" : table.draw(view);
}

std::string show_vms(const Json& vms, const FleetView& view)
{
    FleetTable table({"VM", "HOST", "STATE", "KIND", ">CPU", ">WAIT", ">MEMORY", ">DIRTY", "POLICY",
                      "MIGRATION", "HOTSPOTS"});
    const auto cores = [](double value) {
        char text[32];
        snprintf(text, sizeof text, "%.2f", std::min(value, 1e6));
        return std::string(text);
    };
    for (const Json& vm : vms) {
        const Json& load = object_in(vm, "load");
        const bool known = !load.empty();
        const std::string state = text_in(vm, "state");
        table.add(
            {{text_in(vm, "name") + (json_bool(vm, "pinned") ? " (pinned)" : ""), Colour::Bold},
             {text_in(vm, "host")},
             {state, colour_of_state(state)},
             {text_in(vm, "kind")},
             {known ? cores(json_quantity(load, "cpu")) : "-"},
             {known ? cores(json_quantity(load, "cpu-wait")) : "-"},
             {known ? bytes_text(json_quantity(load, "memory")) : "-"},
             {known ? bytes_text(json_quantity(load, "dirty-rate")) + "/s" : "-"},
             {text_in(vm, "policy")},
             {text_in(vm, "migration"), Colour::Cyan},
             {joined(list_in(vm, "hotspots")), Colour::Red}});
    }
    return table.empty() ? "no VMs\n" : table.draw(view);
}

std::string move_text(const Json& move)
{
    return text_in(move, "id") + ": " + text_in(move, "vm") + " from " + text_in(move, "from") +
           " to " + text_in(move, "to");
}

std::string show_plan(const Json& plan, const FleetView& view)
{
    const Json& moves = list_in(plan, "moves");
    std::string out = "plan " + text_in(plan, "id") + ", mode " + text_in(plan, "mode") + ": " +
                      text_in(plan, "state") + "\n";
    for (const Json& move : moves) {
        const std::string state = text_in(move, "state");
        out += paint(move_text(move), Colour::Bold, view.colour) + "  " +
               paint(state, colour_of_state(state), view.colour) + "\n";
        out += "    gain " + gain_text(move) + ", cost " + cost_text(object_in(move, "cost"));
        if (const std::string policy = text_in(move, "policy"); !policy.empty())
            out += ", policy " + policy;
        if (const std::string spots = joined(list_in(move, "resolves")); !spots.empty())
            out += ", resolves " + spots;
        out += "\n";
        for (const char* key : {"why", "note"}) {
            if (const std::string words = text_in(move, key); !words.empty())
                out += "    " + words + "\n";
        }
    }
    if (moves.empty())
        out += "no moves\n";
    for (const Json& verdict : list_in(plan, "verdicts"))
        out += text_in(verdict, "hotspot") + ": " + text_in(verdict, "verdict") + ": " +
               text_in(verdict, "why") + "\n";
    if (const size_t rejected = list_in(plan, "rejected").size(); rejected > 0)
        out += std::to_string(rejected) + " candidates were rejected (drover explain " +
               text_in(plan, "id") + ")\n";
    if (text_in(plan, "state") == "awaits-approval")
        out += "approve with: drover approve " + text_in(plan, "id") + "\n";
    return out;
}

std::string show_history(const Json& history, const FleetView& view)
{
    FleetTable table({"TIME", "WHAT", "ID", "VM", "FROM", "TO", "TEXT"});
    for (const Json& entry : history) {
        const std::string what = text_in(entry, "what");
        const bool written =
            entry.is_object() && entry.contains("time") && entry["time"].is_string();
        table.add({{written ? text_in(entry, "time") : local_time(json_quantity(entry, "time"))},
                   {what, colour_of_state(what)},
                   {text_in(entry, "id")},
                   {text_in(entry, "vm"), Colour::Bold},
                   {text_in(entry, "from")},
                   {text_in(entry, "to")},
                   {text_in(entry, "text")}});
    }
    return table.empty() ? "nothing has happened yet\n" : table.draw(view);
}

std::string hotspot_line(const Json& hotspot, const FleetView& view)
{
    const std::string vm = text_in(hotspot, "vm");
    std::string line = text_in(hotspot, "id") + ": " + text_in(hotspot, "host") +
                       (vm.empty() ? "" : ", " + vm) + ": " + text_in(hotspot, "kind");
    const double since = json_quantity(hotspot, "since");
    if (since > 0 && view.now >= since)
        line += ", since " + seconds_text(view.now - since);
    line += ", " + percent(json_quantity(hotspot, "sure")) + " sure";
    if (const std::string cause = text_in(hotspot, "cause"); !cause.empty())
        line += ": " + cause;
    return line;
}

} // namespace drover::tools
