// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/random.h"
#include "contrib/balancer/simulate/scenario.h"

#include <algorithm>
#include <numbers>
#include <numeric>

namespace drover::balancer {

namespace {

constexpr double gib = 1024.0 * 1024 * 1024;
constexpr double day_s = 86400;
constexpr double fleet_cpu = 0.58;    ///< mean demand by capacity, over the day
constexpr double fleet_memory = 0.85; ///< configured by capacity

enum class Kind : uint8_t { Web, Steady, Spiky, Batch, Climber, Stream };

/// Something that rises, stays and falls: a job, a climb, a stream.
struct Phase {
    float value = 0;
    float goal = 0;
    float rate = 0; ///< per second, up and down
    float hold = 0; ///< s that are left at the goal

    void step(float seconds)
    {
        if (value < goal)
            value = std::min(goal, value + rate * seconds);
        else if (hold > 0)
            hold -= seconds;
        else
            goal = 0, value = std::max(0.0F, value - rate * seconds);
    }
    [[nodiscard]] bool idle() const { return value <= 0 && goal <= 0; }
};

struct Guest {
    Kind kind = Kind::Web;
    uint32_t app = 0;
    float vcpus = 1;
    float memory = 0;
    float base = 0;  ///< part of the vCPUs
    float daily = 0; ///< … that the day adds at its height
    float noise = 0;
    float wander = 0; ///< the noise now
    float spike = 0;
    float spike_s = 0;
    Phase phase;
    float resident = 0; ///< part of the memory
    float leak = 0;     ///< part of the memory per second
    float rx_by_core = 0;
    float tx_by_core = 0;
    float expected = 0; ///< tx
    float writes = 0;   ///< bytes/s dirtied by a busy core
};

struct App {
    float phase = 0; ///< of the day, 0 to 1
    float wander = 0;
    float day = 0; ///< where its day is now, 0 to 1
};

class GeneratedLoads final : public LoadModel {
public:
    GeneratedLoads(std::vector<Guest> guests, std::vector<App> apps, uint64_t seed)
        : guests_(std::move(guests)), apps_(std::move(apps)), random_(seed)
    {
    }

    void step(double time, double seconds, std::vector<Demand>& demand) override
    {
        const auto s = static_cast<float>(seconds);
        for (App& app : apps_) {
            app.wander = 0.99F * app.wander + 0.01F * static_cast<float>(random_.normal());
            const double turn = 2 * std::numbers::pi * (time / day_s - app.phase);
            app.day = static_cast<float>(0.5 + 0.5 * std::sin(turn)) * (1 + app.wander);
        }
        demand.resize(guests_.size());
        for (size_t i = 0; i < guests_.size(); ++i)
            demand[i] = step_guest(guests_[i], s);
    }

private:
    void begin_phases(Guest& guest, float seconds);
    Demand step_guest(Guest& guest, float seconds);

    std::vector<Guest> guests_;
    std::vector<App> apps_;
    Random random_;
};

void GeneratedLoads::begin_phases(Guest& guest, float seconds)
{
    const auto about_every = [&](double period) { return random_.chance(seconds / period); };
    if (guest.spike_s > 0)
        guest.spike_s -= seconds;
    else if (about_every(guest.kind == Kind::Spiky ? 600 : 7200)) {
        guest.spike = static_cast<float>(random_.between(0.3, 0.6));
        guest.spike_s = static_cast<float>(random_.between(5, 20));
    }
    if (!guest.phase.idle())
        return;
    const auto begin = [&](double goal, double rise_s, double hold_s) {
        guest.phase = {0, static_cast<float>(goal), static_cast<float>(goal / rise_s),
                       static_cast<float>(hold_s)};
    };
    if (guest.kind == Kind::Batch && about_every(7200))
        begin(random_.between(0.5, 0.85), random_.between(10, 120), random_.pareto(600, 14400));
    else if (guest.kind == Kind::Climber && about_every(10800))
        begin(random_.between(0.3, 0.6), random_.between(300, 1200), random_.pareto(1200, 14400));
    else if (guest.kind == Kind::Stream && about_every(3600))
        begin(random_.between(0.6, 1), random_.between(120, 600), random_.pareto(600, 7200));
}

Demand GeneratedLoads::step_guest(Guest& guest, float seconds)
{
    begin_phases(guest, seconds);
    guest.phase.step(seconds);
    const float kept = std::exp(-seconds / 60);
    guest.wander = kept * guest.wander +
                   guest.noise * std::sqrt(1 - kept * kept) * static_cast<float>(random_.normal());
    float busy = guest.base + guest.daily * apps_[guest.app].day + guest.wander;
    busy += guest.spike_s > 0 ? guest.spike : 0;
    busy += guest.kind == Kind::Stream ? 0.2F * guest.phase.value : guest.phase.value;
    const float cores = guest.vcpus * std::clamp(busy, 0.01F, 1.0F);
    guest.resident += guest.leak * seconds;
    if (guest.resident > 0.95F)
        guest.resident = 0.45F; // it is started anew
    Demand demand;
    demand.wanted[Resource::Cpu] = cores;
    demand.wanted[Resource::Memory] = guest.memory * guest.resident;
    demand.wanted[Resource::Rx] = cores * guest.rx_by_core;
    demand.wanted[Resource::Tx] = cores * guest.tx_by_core + guest.expected * guest.phase.value;
    demand.dirty_rate = cores * guest.writes;
    return demand;
}

Kind pick_kind(Random& random)
{
    const double dice = random.part();
    return dice < 0.45   ? Kind::Web
           : dice < 0.65 ? Kind::Steady
           : dice < 0.73 ? Kind::Spiky
           : dice < 0.83 ? Kind::Batch
           : dice < 0.95 ? Kind::Climber
                         : Kind::Stream;
}

Guest make_guest(Random& random, size_t apps)
{
    constexpr std::array sizes{1, 2, 2, 2, 4, 4, 4, 8, 8, 16};
    Guest guest;
    guest.kind = pick_kind(random);
    guest.app = static_cast<uint32_t>(random.below(apps));
    guest.vcpus = static_cast<float>(sizes[random.below(sizes.size())]);
    guest.memory = guest.vcpus * static_cast<float>(random.between(2, 6) * gib);
    guest.base = static_cast<float>(random.between(0.1, 0.4));
    guest.daily = static_cast<float>(guest.kind == Kind::Web ? random.between(0.2, 0.5)
                                                             : random.between(0, 0.1));
    guest.noise = static_cast<float>(random.between(0.01, 0.06));
    guest.resident = static_cast<float>(random.between(0.45, 0.8));
    if (random.chance(0.1)) // half of its memory more within 3 to 12 hours
        guest.leak = static_cast<float>(0.5 / random.between(10800, 43200));
    guest.rx_by_core = static_cast<float>(random.pareto(1e6, 40e6, 1.2));
    guest.tx_by_core = static_cast<float>(random.pareto(2e6, 60e6, 1.2));
    if (guest.kind == Kind::Stream)
        guest.expected = static_cast<float>(random.between(100e6, 400e6));
    guest.writes = static_cast<float>(random.pareto(5e6, 100e6));
    return guest;
}

HostSpec make_host(Random& random, size_t number)
{
    struct Size {
        double cores, memory, nic;
    };
    constexpr std::array sizes{Size{32, 128, 1.25e9}, Size{48, 256, 1.25e9},
                               Size{64, 384, 3.125e9}};
    const Size& size = sizes[random.below(sizes.size())];
    HostSpec host;
    host.name = "h" + std::to_string(number);
    host.capacity = Amount::of(size.cores, size.memory * gib, size.nic, size.nic);
    host.link = size.nic / 2;
    return host;
}

/// What VMs and hosts are is drawn; how much of them in all is set, so that every seed's fleet is
/// about as full.
void scale(const Fleet& fleet, std::vector<Guest>& guests)
{
    Amount capacity;
    for (HostId id = 0; id < fleet.host_ids(); ++id)
        capacity += fleet.host(id).capacity;
    double cores = 0;
    double memory = 0;
    for (const Guest& guest : guests) {
        cores += guest.vcpus * (guest.base + guest.daily / 2 + 0.07);
        memory += guest.memory;
    }
    const double by_cores = fleet_cpu * capacity[Resource::Cpu] / cores;
    const double by_memory = fleet_memory * capacity[Resource::Memory] / memory;
    for (Guest& guest : guests) {
        guest.vcpus *= static_cast<float>(by_cores);
        guest.memory *= static_cast<float>(by_memory);
        guest.rx_by_core /= static_cast<float>(by_cores);
        guest.tx_by_core /= static_cast<float>(by_cores);
    }
}

/// Each on the roomier, by configured memory, of three hosts that are drawn: as a scheduler would
/// that knows sizes and not loads.
void place_all(Scenario& scenario, const std::vector<Guest>& guests, Random& random)
{
    Fleet& fleet = scenario.fleet;
    std::vector<double> memory(fleet.host_ids());
    for (size_t i = 0; i < guests.size(); ++i) {
        HostId best = no_host;
        double least = 0;
        for (int draw = 0; draw < 3; ++draw) {
            const auto host = static_cast<HostId>(random.below(fleet.host_ids()));
            const double full =
                (memory[host] + guests[i].memory) / fleet.host(host).capacity[Resource::Memory];
            if (best == no_host || full < least)
                best = host, least = full;
        }
        memory[best] += guests[i].memory;
        VmSpec spec;
        spec.name = "vm" + std::to_string(i);
        spec.vcpus = guests[i].vcpus;
        spec.memory = guests[i].memory;
        spec.expected_tx = guests[i].expected;
        spec.pinned = random.chance(0.03);
        // Some applications keep their first two apart.
        if (random.chance(0.05))
            spec.apart = {fleet.words().id("app" + std::to_string(guests[i].app))};
        fleet.add_vm(std::move(spec), best);
    }
}

} // namespace

Scenario generate_scenario(const GeneratorOptions& options)
{
    Random random(options.seed);
    Scenario scenario;
    for (size_t i = 0; i < options.hosts; ++i)
        scenario.fleet.add_host(make_host(random, i));
    std::vector<App> apps(std::max<size_t>(1, options.vms / 20));
    for (App& app : apps)
        // Most peak in the afternoon, some at night.
        app.phase =
            static_cast<float>(random.chance(0.75) ? random.between(0.3, 0.45) : random.part());
    std::vector<Guest> guests;
    for (size_t i = 0; i < options.vms; ++i)
        guests.push_back(make_guest(random, apps.size()));
    scale(scenario.fleet, guests);
    place_all(scenario, guests, random);
    scenario.loads =
        std::make_unique<GeneratedLoads>(std::move(guests), std::move(apps), random.next());
    return scenario;
}

} // namespace drover::balancer
