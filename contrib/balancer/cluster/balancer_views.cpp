// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the balancer shows (docs/balancer-qmp.md).
#include "contrib/balancer/cluster/balancer.h"

#include "contrib/balancer/cluster/judging.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

constexpr double plan_valid_for = 5;
constexpr int most_history = 10'000;

} // namespace

size_t Balancer::count_moves(const std::string& host, bool in, bool out) const
{
    size_t count = 0;
    for (const Move* move : mover_.moves())
        if (holds_vm(move->record().state))
            count += (in && move->record().to == host) || (out && move->record().from == host);
    return count;
}

Json Balancer::hotspots_of(const std::string& host, const std::string& vm) const
{
    Json ids = Json::array();
    for (const ShownHotspot& spot : hotspots_)
        if (vm.empty() ? spot.host == host : spot.vm == vm)
            ids.push_back(spot.id);
    return ids;
}

/// Another balancer's, or of this one before it lost its journal.
bool Balancer::is_foreign(const std::string& migration) const
{
    if (migration.empty() || mover_.find(migration) != nullptr)
        return false;
    const auto known = parts_.journal.find_move(migration);
    return known && !*known;
}

/// A migration of this VM that is not ours, as its target shows it; empty: there is none.
std::string Balancer::foreign_move_of(const std::string& vm) const
{
    for (const auto& [name, host] : fleet_.hosts()) {
        const auto waiting = host.vms.find(vm);
        if (waiting == host.vms.end() || waiting->second.state != "incoming")
            continue;
        if (is_foreign(waiting->second.migration))
            return waiting->second.migration;
    }
    return {};
}

size_t Balancer::count_foreign_moves() const
{
    std::set<std::string> foreign;
    for (const auto& [name, host] : fleet_.hosts())
        for (const auto& [vm_name, vm] : host.vms)
            if (is_foreign(vm.migration))
                foreign.insert(vm.migration);
    return foreign.size();
}

Json Balancer::query_status() const
{
    const auto& moves = mover_.moves();
    const auto held = std::count_if(moves.begin(), moves.end(), [](const Move* move) {
        return holds_vm(move->record().state);
    });
    Json status = {{"mode", to_string(mode_)},
                   {"hosts", fleet_.hosts().size()},
                   {"vms", fleet_.places().size()},
                   {"hotspots", hotspots_.size()},
                   {"migrations", held},
                   {"foreign-migrations", count_foreign_moves()},
                   {"owner", identity_},
                   {"forecasts", forecasts_.to_json()},
                   {"round-ms", round_ms_},
                   {"since", started_},
                   {"config-file", parts_.config_file}};
    if (!parts_.journal.trouble().empty())
        status["trouble"] = parts_.journal.trouble();
    return status;
}

Json Balancer::query_hosts() const
{
    Json list = Json::array();
    for (const auto& [name, host] : fleet_.hosts()) {
        const char* state = host.up ? "up" : "unreachable";
        if (host.up && (host.config.maintenance || evacuating_.contains(name)))
            state = "maintenance";
        const auto guests = std::count_if(host.vms.begin(), host.vms.end(), [](const auto& entry) {
            return entry.second.has_guest();
        });
        Json entry = {{"name", name},
                      {"address", host.config.address},
                      {"state", state},
                      {"since", parts_.time.wall() - (parts_.time.now() - host.since)},
                      {"group", host.config.group},
                      {"slice", host.load.slice},
                      {"evacuating", evacuating_.contains(name)},
                      {"vms", guests},
                      {"hotspots", hotspots_of(name, "")},
                      {"migrations-in", count_moves(name, true, false)},
                      {"migrations-out", count_moves(name, false, true)}};
        if (host.load_at >= 0) {
            entry["load"] = balancer::to_json(host.load);
            entry["load-age"] = parts_.time.now() - host.load_at;
        }
        list.push_back(std::move(entry));
    }
    return list;
}

bool Balancer::is_pinned(const Fleet::Place& place) const
{
    return json_bool(place.vm->definition, "pinned") ||
           std::any_of(config_.rules.begin(), config_.rules.end(), [&place](const VmRule& rule) {
               return rule.pinned &&
                      std::find(rule.vms.begin(), rule.vms.end(), place.vm->name) != rule.vms.end();
           });
}

Json Balancer::query_vms() const
{
    Json list = Json::array();
    for (const auto& [name, place] : fleet_.places()) {
        const FleetVm& vm = *place.vm;
        std::string policy = json_string(vm.definition, "policy");
        for (const VmRule& rule : config_.rules) {
            if (std::find(rule.vms.begin(), rule.vms.end(), name) == rule.vms.end())
                continue;
            policy = rule.policy.empty() ? policy : rule.policy;
        }
        Json entry = {{"name", name},
                      {"host", place.host->config.name},
                      {"state", vm.state},
                      {"kind", vm.kind},
                      {"policy", policy},
                      {"pinned", is_pinned(place)},
                      {"hotspots", hotspots_of("", name)}};
        if (vm.load_at >= 0)
            entry["load"] = balancer::to_json(vm.load);
        if (const Move* move = mover_.of_vm(name))
            entry["migration"] = move->record().id;
        else if (!vm.migration.empty())
            entry["migration"] = vm.migration;
        list.push_back(std::move(entry));
    }
    add_shut_off(list);
    return list;
}

/// Those that run nowhere: their host keeps them.
void Balancer::add_shut_off(Json& list) const
{
    const auto places = fleet_.places();
    for (const auto& [host_name, host] : fleet_.hosts())
        for (const auto& [name, vm] : host.vms)
            if (vm.is_shut_off() && !places.contains(name))
                list.push_back({{"name", name},
                                {"host", host_name},
                                {"state", vm.state},
                                {"kind", vm.kind},
                                {"policy", json_string(vm.definition, "policy")},
                                {"pinned", json_bool(vm.definition, "pinned")},
                                {"hotspots", Json::array()}});
}

Json Balancer::query_hotspots() const
{
    Json list = Json::array();
    for (const ShownHotspot& spot : hotspots_)
        list.push_back(spot.shown);
    return list;
}

Json Balancer::plan_json(const CurrentPlan& plan) const
{
    Json moves = Json::array();
    for (const PlannedMove& planned : plan.moves) {
        const ChosenMove& move = planned.move;
        Json entry = {{"id", planned.id},
                      {"vm", move.vm},
                      {"from", move.from},
                      {"to", move.to},
                      {"policy", move.policy},
                      {"gain", move.gain},
                      {"cost",
                       {{"seconds", move.cost.seconds},
                        {"bytes", move.cost.bytes},
                        {"downtime", move.cost.downtime},
                        {"estimated", move.estimated}}},
                      {"resolves", move.resolves},
                      {"why", move.why},
                      {"state", planned.state}};
        if (!planned.note.empty())
            entry["note"] = planned.note;
        moves.push_back(std::move(entry));
    }
    const char* state = "empty";
    if (!plan.moves.empty())
        state = mode_ == Mode::Automatic ? "acting" : "awaits-approval";
    return {{"id", plan.id},
            {"made-at", plan.made_wall},
            {"valid-until", plan.made_wall + plan_valid_for},
            {"mode", to_string(mode_)},
            {"state", state},
            {"moves", std::move(moves)},
            {"rejected", plan.rejected},
            {"verdicts", plan.verdicts}};
}

Json Balancer::query_plan() const
{
    return plan_json(plan_);
}

Json Balancer::move_json(const MoveRecord& record, const Move* move) const
{
    Json entry = {{"id", record.id},
                  {"vm", record.vm},
                  {"from", record.from},
                  {"to", record.to},
                  {"state", to_string(record.state)},
                  {"since", record.created},
                  {"why", record.why},
                  {"wish", record.wish}};
    if (record.cancel)
        entry["cancelled"] = true;
    if (!record.outcome.empty())
        entry["outcome"] = record.outcome;
    if (!record.error.empty())
        entry["error"] = record.error;
    if (record.downtime)
        entry["downtime"] = *record.downtime;
    if (record.total_time)
        entry["total-time"] = *record.total_time;
    if (move == nullptr)
        return entry;
    const Word& word = move->latest();
    entry["status"] = word.status;
    entry["total"] = word.total;
    entry["remaining"] = word.remaining;
    if (!move->waits_for().empty())
        entry["waits-for"] = move->waits_for();
    return entry;
}

Json Balancer::query_migrations() const
{
    Json list = Json::array();
    for (const Move* move : mover_.moves())
        list.push_back(move_json(move->record(), move));
    return list;
}

Result<Json> Balancer::query_history(int limit, const std::string& vm)
{
    auto entries = parts_.journal.history(std::clamp(limit, 1, most_history), vm);
    if (!entries)
        return pass(entries);
    Json list = Json::array();
    for (const HistoryEntry& entry : *entries)
        list.push_back({{"time", entry.time},
                        {"what", entry.what},
                        {"id", entry.id},
                        {"vm", entry.vm},
                        {"from", entry.from},
                        {"to", entry.to},
                        {"text", entry.text}});
    return list;
}

} // namespace drover::balancer::cluster
