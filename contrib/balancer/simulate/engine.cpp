// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/engine.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <sys/resource.h>

namespace drover::balancer {

namespace {

constexpr double migration_cores = 0.5; ///< at either end
constexpr double moves_kept_s = 3600;   ///< of past moves
constexpr double returned_s = 1800;
constexpr double got_enough = 0.9;  ///< of what was promised
constexpr double swap_churn = 0.01; ///< of what does not fit, swapped out again each second
constexpr double fastest_swap = 400e6;
constexpr double least_progress = 0.1; ///< of the link, however much the guest writes

/// Minutes of what persists: a sample above the threshold counts if at least three of five
/// neighbouring ones are. A spike is no hotspot, whoever balances.
class Count {
public:
    double add(bool above, double minutes)
    {
        constexpr unsigned window = 0x1f;
        bits_ = bits_ << 1 | (above ? 1U : 0U);
        counted_ <<= 1;
        if (std::popcount(bits_ & window) < 3)
            return 0;
        const unsigned fresh = bits_ & ~counted_ & window;
        counted_ |= fresh;
        return minutes * std::popcount(fresh);
    }

private:
    unsigned bits_ = 0;
    unsigned counted_ = 0;
};

struct Running {
    Order order;
    HostId from = no_host;
    bool begun = false;
    double left = 0; ///< bytes
};

class Engine {
public:
    Engine(Scenario& scenario, Planner& planner, const EngineOptions& options)
        : fleet_(scenario.fleet), loads_(*scenario.loads), planner_(planner), options_(options),
          hosts_(fleet_.host_ids()), vms_(fleet_.vm_ids()), wanted_(fleet_.host_ids()),
          swapped_(fleet_.host_ids()), overload_(fleet_.host_ids()), starving_(fleet_.vm_ids()),
          in_(fleet_.host_ids()), out_(fleet_.host_ids())
    {
        metrics_.planner = planner.name();
        metrics_.hosts = hosts_.size();
        metrics_.vms = vms_.size();
    }

    Metrics run()
    {
        std::vector<double> times;
        for (size_t round = 0; round < options_.rounds; ++round) {
            now_ = options_.start + options_.step * double(round + 1);
            loads_.step(now_, options_.step, demand_);
            carry_migrations();
            share_out();
            const auto begin = std::chrono::steady_clock::now();
            const auto orders = planner_.round({fleet_, now_, hosts_, vms_, in_flight_, recent_});
            const std::chrono::duration<double, std::milli> taken =
                std::chrono::steady_clock::now() - begin;
            times.push_back(taken.count());
            for (const Order& order : orders)
                take(order);
            begin_waiting();
            if (options_.progress)
                options_.progress(round + 1);
        }
        std::sort(times.begin(), times.end());
        metrics_.round_ms = times.empty() ? 0 : times[times.size() / 2];
        metrics_.worst_round_ms = times.empty() ? 0 : times.back();
        metrics_.optimal_pct = planner_.optimal_pct();
        metrics_.worst_gap_pct = planner_.worst_gap_pct();
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        metrics_.memory_mb = double(usage.ru_maxrss) / 1024;
        return metrics_;
    }

private:
    void carry_migrations();
    void arrive(const Running& move);
    void share_out();
    void share_host(HostId id);
    void swap_out(HostId id, HostSample& sample, double wanted);
    void take(const Order& order);
    void begin_waiting();
    [[nodiscard]] bool is_allowed(const Order& order) const;
    [[nodiscard]] bool has_slot(const Running& move) const;
    [[nodiscard]] double rate_of(const Running& move) const;
    void list_in_flight();

    Fleet& fleet_;
    LoadModel& loads_;
    Planner& planner_;
    const EngineOptions& options_;
    double now_ = 0;
    std::vector<Demand> demand_;
    std::vector<HostSample> hosts_;
    std::vector<VmSample> vms_;
    std::vector<Amount> wanted_;                 ///< of guests, by host
    std::vector<double> swapped_;                ///< bytes, by host
    std::vector<std::array<Count, 3>> overload_; ///< processor, link, swapping
    std::vector<Count> starving_;
    std::vector<unsigned> in_; ///< migrations that run
    std::vector<unsigned> out_;
    std::vector<Running> moves_;
    std::vector<InFlight> in_flight_;
    std::vector<PastMove> recent_;
    Metrics metrics_;
};

double Engine::rate_of(const Running& move) const
{
    const auto share = [&](HostId id, Resource r) {
        const HostSpec& host = fleet_.host(id);
        const double free = std::max(host.capacity[r] - wanted_[id][r], 0.1 * host.link);
        return std::min(host.link, free) / double(std::max(1U, in_[id] + out_[id]));
    };
    return std::min(share(move.from, Resource::Tx), share(move.order.to, Resource::Rx));
}

void Engine::carry_migrations()
{
    std::vector<Running> still;
    for (Running& move : moves_) {
        if (move.begun) {
            const double rate = rate_of(move);
            const double net =
                std::max(rate - demand_[move.order.vm].dirty_rate, least_progress * rate);
            move.left -= net * options_.step;
            if (move.left <= 0) {
                arrive(move);
                continue;
            }
        }
        still.push_back(std::move(move));
    }
    moves_ = std::move(still);
    std::erase_if(recent_, [&](const PastMove& past) { return now_ - past.time > moves_kept_s; });
    list_in_flight();
}

void Engine::arrive(const Running& move)
{
    const VmId vm = move.order.vm;
    for (const PastMove& past : recent_)
        if (past.vm == vm && past.from == move.order.to && now_ - past.time < returned_s) {
            ++metrics_.ping_pong;
            break;
        }
    --out_[move.from];
    --in_[move.order.to];
    fleet_.place(vm, move.order.to);
    recent_.push_back({vm, move.from, move.order.to, now_, false});
}

void Engine::list_in_flight()
{
    in_flight_.clear();
    for (const Running& move : moves_)
        in_flight_.push_back({move.order.vm, move.from, move.order.to, move.order.resolves});
}

void Engine::share_out()
{
    for (HostId id = 0; id < hosts_.size(); ++id)
        hosts_[id] = {.time = now_};
    for (const Running& move : moves_) {
        if (!move.begun)
            continue;
        const double rate = rate_of(move);
        hosts_[move.from].migrating += Amount::of(migration_cores, 0, 0, rate);
        hosts_[move.order.to].migrating += Amount::of(migration_cores, 0, rate, 0);
    }
    for (HostId id = 0; id < hosts_.size(); ++id)
        share_host(id);
}

void Engine::share_host(HostId id)
{
    HostSample& sample = hosts_[id];
    const HostSpec& spec = fleet_.host(id);
    Amount& wanted = wanted_[id];
    wanted = {};
    for (const VmId vm : fleet_.vms_on(id))
        wanted += demand_[vm].wanted;
    Amount part;
    for (size_t r = 0; r < resource_count; ++r) {
        const double all = wanted.part[r] + sample.migrating.part[r];
        part.part[r] = all > spec.capacity.part[r] ? spec.capacity.part[r] / all : 1;
    }
    sample.migrating[Resource::Cpu] *= part[Resource::Cpu];
    for (const VmId vm : fleet_.vms_on(id)) {
        const Demand& demand = demand_[vm];
        VmSample& guest = vms_[vm];
        guest = {.time = now_, .used = demand.wanted};
        for (const Resource r : {Resource::Cpu, Resource::Rx, Resource::Tx})
            guest.used[r] *= part[r];
        guest.cpu_wait = demand.wanted[Resource::Cpu] - guest.used[Resource::Cpu];
        const double expected = fleet_.vm(vm).expected_tx;
        guest.wants_more = part[Resource::Tx] < 1 && expected > 0;
        guest.expected_tx = expected > 0 ? std::min(expected, demand.wanted[Resource::Tx]) : 0;
        guest.dirty_rate = demand.dirty_rate;
        sample.used += guest.used;
        const bool starves =
            guest.wants_more && guest.used[Resource::Tx] < got_enough * guest.expected_tx;
        metrics_.vm_minutes += starving_[vm].add(starves, options_.step / 60);
    }
    const double minutes = options_.step / 60;
    const auto hot = [&](Resource r) { return wanted[r] > spec.threshold[r] * spec.capacity[r]; };
    const bool link = hot(Resource::Rx) || hot(Resource::Tx);
    swap_out(id, sample, wanted[Resource::Memory]);
    const bool swaps = sample.swap_out > spec.swap_out_threshold;
    metrics_.cpu_minutes += overload_[id][0].add(hot(Resource::Cpu), minutes);
    metrics_.bandwidth_minutes += overload_[id][1].add(link, minutes);
    metrics_.swap_minutes += overload_[id][2].add(swaps, minutes);
    for (const bool above : {hot(Resource::Cpu), link, swaps})
        metrics_.overload_minutes += above ? minutes : 0;
    sample.used += sample.migrating;
    sample.used[Resource::Memory] =
        std::min(sample.used[Resource::Memory], spec.capacity[Resource::Memory]);
    metrics_.hotspot_minutes = metrics_.cpu_minutes + metrics_.bandwidth_minutes +
                               metrics_.swap_minutes + metrics_.vm_minutes;
}

void Engine::swap_out(HostId id, HostSample& sample, double wanted)
{
    const double excess = std::max(0.0, wanted - fleet_.host(id).capacity[Resource::Memory]);
    const double growth = std::max(0.0, excess - swapped_[id]) / options_.step;
    sample.swap_out = std::min(fastest_swap, growth + swap_churn * excess);
    sample.swap_in = std::min(fastest_swap, swap_churn * excess);
    swapped_[id] = excess;
}

bool Engine::is_allowed(const Order& order) const
{
    if (!fleet_.has_vm(order.vm) || !fleet_.has_host(order.to) ||
        fleet_.host_of(order.vm) == order.to)
        return false;
    const VmSpec& vm = fleet_.vm(order.vm);
    const HostSpec& host = fleet_.host(order.to);
    if (vm.pinned || !host.receives || !host.offers.includes(vm.needs) ||
        (!vm.groups.empty() && !vm.groups.meets(host.groups)))
        return false;
    for (const WordId label : vm.apart)
        for (const VmId other : fleet_.vms_labelled(label))
            if (other != order.vm && fleet_.host_of(other) == order.to)
                return false;
    return std::none_of(moves_.begin(), moves_.end(),
                        [&](const Running& move) { return move.order.vm == order.vm; });
}

void Engine::take(const Order& order)
{
    if (!is_allowed(order)) {
        ++metrics_.refused;
        return;
    }
    Running move{order, fleet_.host_of(order.vm), false, 0};
    if (order.after.empty() && !has_slot(move)) {
        ++metrics_.refused;
        return;
    }
    moves_.push_back(std::move(move));
    begin_waiting();
}

bool Engine::has_slot(const Running& move) const
{
    const HostSpec& from = fleet_.host(move.from);
    const HostSpec& to = fleet_.host(move.order.to);
    const unsigned per_link = Rules{}.max_per_link;
    return out_[move.from] < from.max_out && in_[move.order.to] < to.max_in &&
           in_[move.from] + out_[move.from] < per_link &&
           in_[move.order.to] + out_[move.order.to] < per_link;
}

/// Moves that wait for others begin when those have ended.
void Engine::begin_waiting()
{
    for (Running& move : moves_) {
        const bool waits = std::any_of(moves_.begin(), moves_.end(), [&](const Running& other) {
            const auto& after = move.order.after;
            return std::find(after.begin(), after.end(), other.order.vm) != after.end();
        });
        if (move.begun || waits || !has_slot(move))
            continue;
        move.begun = true;
        move.left = demand_[move.order.vm].wanted[Resource::Memory];
        ++out_[move.from];
        ++in_[move.order.to];
        ++metrics_.migrations;
    }
    list_in_flight();
}

} // namespace

Metrics simulate(Scenario& scenario, Planner& planner, const EngineOptions& options)
{
    return Engine(scenario, planner, options).run();
}

} // namespace drover::balancer
