// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/judging.h"

#include "contrib/balancer/cluster/uplinks.h"
#include "contrib/balancer/judge/explain.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

constexpr double remember_moves_s = 3600;

bool same(const ObserverRules& a, const ObserverRules& b)
{
    return a.persistence == b.persistence && a.swap_persistence == b.swap_persistence;
}

/// The part of what is used that our migrations use: it passes, and is nobody's demand.
Amount migrating_part(const HostLoad& load, const Amount& used, const Traffic& traffic)
{
    return Amount::of(std::min(used[Resource::Cpu], load.cpu_migrating), 0,
                      std::min(used[Resource::Rx], traffic.rx),
                      std::min(used[Resource::Tx], traffic.tx));
}

/// What the guests miss of the processor time that is taken from the host. Our migrations miss the
/// part of it that they are of the work.
double guests_steal(const HostLoad& load)
{
    if (load.cpu_busy <= 0)
        return load.cpu_steal;
    return load.cpu_steal * std::max(0.0, 1 - load.cpu_migrating / load.cpu_busy);
}

} // namespace

Judging::Judging(const TimeSource& time, int run)
    : time_(time), run_(run), offset_(time.wall() - time.now())
{
}

Judging::~Judging() = default;

void Judging::observe(const Surroundings& around)
{
    ObserverRules rules;
    rules.persistence = around.config.thresholds.persistence;
    rules.swap_persistence = around.config.thresholds.swap_persistence;
    rules.calm = rules.persistence;
    if (!observer_ || !same(rules, rules_)) {
        rules_ = rules;
        observer_.emplace(fleet_, rules);
    }
    measure_migrations(around);
    take_hosts(around);
    take_vms(around);
    observer_->judge(time_of(time_.now()));
    observer_->fill(snapshot_, time_of(time_.now()));
    snapshot_.rules.vm_cool_down = around.config.limits.cool_down;
    snapshot_.rules.policy = policy_words(around.config, around.config.policy);
    snapshot_.rules.urgent_policy = policy_words(around.config, around.config.urgent_policy);
    snapshot_.rules.max_per_link = around.config.limits.migrations_link;
    take_flights(around);
}

void Judging::take_hosts(const Surroundings& around)
{
    for (auto known = hosts_.begin(); known != hosts_.end();) {
        const bool gone = around.fleet.host(known->first) == nullptr;
        if (gone)
            fleet_.remove_host(known->second);
        known = gone ? hosts_.erase(known) : std::next(known);
    }
    for (const auto& [name, host] : around.fleet.hosts()) {
        const NicLoad* uplink = fullest_uplink(host.load, uplinks_[name]);
        uplinks_[name] = uplink != nullptr ? uplink->name : std::string();
        HostSpec spec = host_spec(host, uplink, fleet_.words());
        spec.evacuating = around.evacuating.contains(name);
        spec.receives &=
            !spec.evacuating && around.mover.host_pauses().left(name, time_.now()) <= 0;
        const auto known = hosts_.find(name);
        if (known == hosts_.end())
            hosts_[name] = fleet_.add_host(std::move(spec));
        else
            fleet_.set_host(known->second, std::move(spec));
        if (host.up)
            see_host(host, uplink, hosts_[name]);
    }
}

void Judging::see_host(const FleetHost& host, const NicLoad* uplink, HostId id)
{
    if (host.load_at < 0 ||
        std::exchange(host_seen_[host.config.name], host.load_at) == host.load_at)
        return;
    const HostLoad& load = host.load;
    HostSample sample;
    sample.time = time_of(host.load_at);
    const double memory = std::max(0.0, load.memory_total - load.memory_available);
    sample.used = Amount::of(load.cpu_busy, memory, uplink != nullptr ? uplink->rx : 0,
                             uplink != nullptr ? uplink->tx : 0);
    const auto traffic = migrating_.find(host.config.name);
    const bool here =
        traffic != migrating_.end() && uplink != nullptr && carries_migrations(load, *uplink);
    sample.migrating = migrating_part(load, sample.used, here ? traffic->second : Traffic());
    sample.steal = guests_steal(load);
    sample.swap_in = load.swap_in;
    sample.swap_out = load.swap_out;
    sample.swapped = load.slice ? 0 : load.swap_used; // of a slice, it counts as used
    sample.memory_pressure = load.memory_pressure.some;
    observer_->see_host(id, sample);
}

void Judging::take_vms(const Surroundings& around)
{
    const auto places = around.fleet.places();
    for (auto known = vms_.begin(); known != vms_.end();) {
        const bool gone = !places.contains(known->first);
        if (gone)
            fleet_.remove_vm(known->second);
        known = gone ? vms_.erase(known) : std::next(known);
    }
    for (const auto& [name, place] : places) {
        VmSpec spec = spec_of(around, place);
        const HostId where = hosts_.at(place.host->config.name);
        const auto known = vms_.find(name);
        if (known == vms_.end()) {
            vms_[name] = fleet_.add_vm(std::move(spec), where);
        } else {
            fleet_.set_vm(known->second, std::move(spec));
            if (fleet_.host_of(known->second) != where)
                fleet_.place(known->second, where);
        }
        see_vm(*place.vm, *place.host, vms_[name]);
    }
}

void Judging::see_vm(const FleetVm& vm, const FleetHost& host, VmId id)
{
    if (vm.load_at < 0 || std::exchange(vm_seen_[vm.name], vm.load_at) == vm.load_at)
        return;
    const VmLoad& load = vm.load;
    VmSample sample;
    sample.time = time_of(vm.load_at);
    double rx = 0;
    double tx = 0;
    const std::string& uplink = uplinks_[host.config.name];
    for (const VmNicLoad& nic : load.nics) {
        if (!counts_on(nic, host.load, uplink))
            continue;
        rx += nic.rx;
        tx += nic.tx;
        sample.expected_rx += nic.expected;
        sample.expected_tx += nic.expected;
        sample.wants_more |= nic.wants_more;
    }
    const double held = load.resident + load.swapped;
    const double cpu = std::max(0.0, load.cpu - load.cpu_migrating);
    sample.used = Amount::of(cpu, held > 0 ? held : load.memory, rx, tx);
    sample.cpu_wait = load.cpu_wait;
    sample.dirty_rate = load.dirty_rate;
    observer_->see_vm(id, sample);
}

/// Adds up what our migrations put on the links. The source alone knows what it sends; what it
/// sends its target receives.
void Judging::measure_migrations(const Surroundings& around)
{
    migrating_.clear();
    for (const cluster::Move* move : around.mover.moves()) {
        const MoveRecord& record = move->record();
        migrating_[record.from].tx += move->latest().rate;
        migrating_[record.to].rx += move->latest().rate;
    }
}

void Judging::add_flight(const std::string& vm, const std::string& from, const std::string& to)
{
    const auto known = vms_.find(vm);
    const auto source = hosts_.find(from);
    const auto target = hosts_.find(to);
    if (known != vms_.end() && source != hosts_.end() && target != hosts_.end())
        snapshot_.in_flight.push_back({known->second, source->second, target->second, {}});
}

void Judging::take_flights(const Surroundings& around)
{
    const double now = time_of(time_.now());
    snapshot_.in_flight.clear();
    for (const ChosenMove& promised : around.promised)
        add_flight(promised.vm, promised.from, promised.to);
    for (const cluster::Move* move : around.mover.moves()) {
        const MoveRecord& record = move->record();
        if (holds_vm(record.state))
            add_flight(record.vm, record.from, record.to);
    }
    while (!past_.empty() && now - past_.front().time > remember_moves_s)
        past_.pop_front();
    snapshot_.recent.clear();
    for (const Past& past : past_) {
        const auto vm = vms_.find(past.vm);
        const auto from = hosts_.find(past.from);
        const auto to = hosts_.find(past.to);
        if (vm != vms_.end() && from != hosts_.end() && to != hosts_.end())
            snapshot_.recent.push_back(
                {vm->second, from->second, to->second, past.time, past.failed});
    }
    snapshot_.forecasts.clear();
    for (const auto& [name, forecast] : forecasts_)
        if (const auto vm = vms_.find(name); vm != vms_.end())
            snapshot_.forecasts[vm->second] = forecast;
}

std::string Judging::hotspot_id(uint64_t id) const
{
    return "h-" + std::to_string(run_) + "-" + std::to_string(id);
}

std::string Judging::name_of_host(HostId id) const
{
    return fleet_.has_host(id) ? fleet_.host(id).name : std::string();
}

std::string Judging::name_of_vm(VmId id) const
{
    return fleet_.has_vm(id) ? fleet_.vm(id).name : std::string();
}

std::vector<ShownHotspot> Judging::hotspots() const
{
    std::vector<ShownHotspot> list;
    if (!observer_)
        return list;
    for (const Hotspot& spot : observer_->hotspots()) {
        ShownHotspot shown{hotspot_id(spot.id), name_of_host(spot.host), name_of_vm(spot.vm),
                           in_words(fleet_, spot), Json::object()};
        shown.shown = {{"id", shown.id},
                       {"kind", to_string(spot.kind)},
                       {"resource", to_string(spot.resource)},
                       {"host", shown.host},
                       {"since", spot.since},
                       {"sure", spot.sure},
                       {"value", spot.value},
                       {"threshold", spot.threshold},
                       {"predicted", spot.predicted},
                       {"forecast", spot.forecast},
                       {"cause", spot.cause}};
        if (!shown.vm.empty())
            shown.shown["vm"] = shown.vm;
        list.push_back(std::move(shown));
    }
    return list;
}

ChosenMove Judging::chosen(const balancer::Move& move) const
{
    ChosenMove chosen;
    chosen.vm = name_of_vm(move.vm);
    chosen.from = name_of_host(move.from);
    chosen.to = name_of_host(move.to);
    chosen.policy = move.policy;
    chosen.cost = {move.cost.seconds, move.cost.bytes, move.cost.downtime};
    chosen.estimated = move.cost.estimated;
    chosen.waits = !move.after.empty();
    chosen.gain = move.gain;
    for (const uint64_t spot : move.resolves)
        chosen.resolves.push_back(hotspot_id(spot));
    chosen.why = move.why;
    return chosen;
}

Json Judging::shown(const Rejection& rejection) const
{
    Json json = {{"vm", name_of_vm(rejection.vm)},
                 {"reason", to_string(rejection.reason)},
                 {"why", rejection.why}};
    if (rejection.hotspot != 0)
        json["hotspot"] = hotspot_id(rejection.hotspot);
    if (rejection.to != no_host)
        json["to"] = name_of_host(rejection.to);
    return json;
}

ChosenPlan Judging::plan()
{
    ChosenPlan chosen_plan;
    const Plan made = make_plan(snapshot_);
    for (const balancer::Move& move : made.moves)
        chosen_plan.moves.push_back(chosen(move));
    for (const Rejection& rejection : made.rejected)
        chosen_plan.rejected.push_back(shown(rejection));
    for (const Verdict& verdict : made.verdicts) {
        const char* word = "unresolved";
        if (verdict.resolved)
            word = verdict.moves.empty() ? "in-flight" : "resolved";
        chosen_plan.verdicts.push_back(
            {{"hotspot", hotspot_id(verdict.hotspot)}, {"verdict", word}, {"why", verdict.why}});
    }
    return chosen_plan;
}

Result<ChosenMove> Judging::choose(const std::string& vm, const std::string& host)
{
    const auto known = vms_.find(vm);
    if (known == vms_.end())
        return fail(ErrorKind::Invalid, "no host has a VM " + vm, "see query-vms");
    const auto to = hosts_.find(host);
    if (!host.empty() && to == hosts_.end())
        return fail(ErrorKind::Invalid, "no host " + host + " is configured", "see query-hosts");
    const Advice advice = host.empty() ? best_target(snapshot_, known->second)
                                       : check_move(snapshot_, known->second, to->second);
    if (advice.move)
        return chosen(*advice.move);
    return fail(ErrorKind::Refused, advice.why.empty() ? "no host is fit for " + vm : advice.why);
}

void Judging::foretold(const std::string& vm, const Json& forecast)
{
    if (const auto read = forecast_of(forecast))
        forecasts_[vm] = *read;
    else
        forecasts_.erase(vm);
}

void Judging::forget_forecast(const std::string& vm)
{
    forecasts_.erase(vm);
}

void Judging::ended(const MoveRecord& record)
{
    const double ago = std::max(0.0, time_.wall() - record.changed);
    past_.push_back({record.vm, record.from, record.to, time_of(time_.now()) - ago,
                     record.outcome != "completed"});
}

} // namespace drover::balancer::cluster
