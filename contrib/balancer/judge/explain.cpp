// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/explain.h"

#include "contrib/balancer/judge/text.h"

#include <algorithm>

namespace drover::balancer {

namespace {

std::string host_name(const Fleet& fleet, HostId host)
{
    return host < fleet.host_ids() ? fleet.host(host).name : "?";
}

std::string vm_name(const Fleet& fleet, VmId vm)
{
    return vm < fleet.vm_ids() ? fleet.vm(vm).name : "?";
}

std::string number_list(const std::vector<uint32_t>& ids)
{
    std::string text;
    for (const uint32_t id : ids)
        text += (text.empty() ? "" : ", ") + std::to_string(id);
    return text;
}

} // namespace

std::string in_words(const Fleet& fleet, const Hotspot& spot)
{
    std::string text =
        "hotspot " + std::to_string(spot.id) + " (" + std::string(to_string(spot.kind)) + ") ";
    text += spot.vm != no_vm ? vm_name(fleet, spot.vm) + " on " : "";
    text += host_name(fleet, spot.host) + ", " + percent(spot.sure) + " sure" +
            (spot.forecast ? ", forecast" : "") + ": " + spot.cause;
    return text;
}

std::string in_words(const Fleet& fleet, const Move& move)
{
    std::string text = "move " + std::to_string(move.id) + ": " + vm_name(fleet, move.vm) +
                       " from " + host_name(fleet, move.from) + " to " + host_name(fleet, move.to);
    text += move.policy.empty() ? "" : " with policy " + move.policy;
    text += move.after.empty() ? "" : ", after move " + number_list(move.after);
    return text + ": " + move.why;
}

std::string in_words(const Fleet& fleet, const Rejection& rejection)
{
    return "not " + vm_name(fleet, rejection.vm) +
           (rejection.to == no_host ? "" : " to " + host_name(fleet, rejection.to)) + " (" +
           std::string(to_string(rejection.reason)) + "): " + rejection.why;
}

std::string in_words(const Fleet& fleet, const Plan& plan)
{
    std::string text;
    for (const Move& move : plan.moves)
        text += in_words(fleet, move) + "\n";
    for (const Verdict& verdict : plan.verdicts) {
        text += "hotspot " + std::to_string(verdict.hotspot) + ": " + verdict.why + "\n";
        for (const Rejection& rejection : plan.rejected)
            if (rejection.hotspot == verdict.hotspot)
                text += "  " + in_words(fleet, rejection) + "\n";
    }
    if (text.empty())
        return "nothing to do";
    text.pop_back();
    return text;
}

Json to_json(const Fleet& fleet, const Hotspot& spot)
{
    Json json{{"id", spot.id},
              {"kind", to_string(spot.kind)},
              {"host", host_name(fleet, spot.host)},
              {"resource", to_string(spot.resource)},
              {"since", spot.since},
              {"sure", spot.sure},
              {"value", spot.value},
              {"threshold", spot.threshold},
              {"predicted", spot.predicted},
              {"forecast", spot.forecast},
              {"cause", spot.cause}};
    if (spot.vm != no_vm)
        json["vm"] = vm_name(fleet, spot.vm);
    return json;
}

Json to_json(const MoveCost& cost)
{
    return {{"seconds", cost.seconds},        {"bytes", cost.bytes},
            {"downtime", cost.downtime},      {"slowdown", cost.slowdown},
            {"keeps-wish", cost.keeps_wish},  {"estimated", cost.estimated},
            {"disturbance", cost.disturbance}};
}

Json to_json(const Fleet& fleet, const Move& move)
{
    return {{"id", move.id},
            {"vm", vm_name(fleet, move.vm)},
            {"from", host_name(fleet, move.from)},
            {"to", host_name(fleet, move.to)},
            {"policy", move.policy},
            {"gain", move.gain},
            {"cost", to_json(move.cost)},
            {"resolves", move.resolves},
            {"after", move.after},
            {"why", move.why}};
}

Json to_json(const Fleet& fleet, const Rejection& rejection)
{
    Json json{{"hotspot", rejection.hotspot},
              {"vm", vm_name(fleet, rejection.vm)},
              {"reason", to_string(rejection.reason)},
              {"why", rejection.why}};
    if (rejection.to != no_host)
        json["to"] = host_name(fleet, rejection.to);
    return json;
}

Json to_json(const Fleet&, const Verdict& verdict)
{
    return {{"hotspot", verdict.hotspot},
            {"resolved", verdict.resolved},
            {"moves", verdict.moves},
            {"why", verdict.why}};
}

Json to_json(const Fleet& fleet, const Plan& plan)
{
    Json json{{"made", plan.made},
              {"valid-for", plan.valid_for},
              {"moves", Json::array()},
              {"rejected", Json::array()},
              {"verdicts", Json::array()},
              {"heat-before", plan.heat_before},
              {"heat-after", plan.heat_after},
              {"disturbance", plan.disturbance}};
    for (const Move& move : plan.moves)
        json["moves"].push_back(to_json(fleet, move));
    for (const Rejection& rejection : plan.rejected)
        json["rejected"].push_back(to_json(fleet, rejection));
    for (const Verdict& verdict : plan.verdicts)
        json["verdicts"].push_back(to_json(fleet, verdict));
    return json;
}

} // namespace drover::balancer
