// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/judgement.h"
#include "contrib/balancer/judge/observer.h"
#include "contrib/balancer/judge/plan.h"

#include <deque>
#include <optional>

namespace drover::balancer::cluster {

/// Bytes/s of a host.
struct Traffic {
    double rx = 0;
    double tx = 0;
};

/// contrib/balancer/judge, told of the fleet in its own terms. It knows no clock but ours: the
/// time at which each answer arrived, which is never set back.
class Judging : public Judgement {
public:
    /// `run` is in the IDs of hotspots, so that they are unique over restarts.
    Judging(const TimeSource& time, int run);
    ~Judging() override;

    void observe(const Surroundings& around) override;
    [[nodiscard]] std::vector<ShownHotspot> hotspots() const override;
    [[nodiscard]] ChosenPlan plan() override;
    [[nodiscard]] Result<ChosenMove> choose(const std::string& vm,
                                            const std::string& host) override;
    void foretold(const std::string& vm, const Json& forecast) override;
    void forget_forecast(const std::string& vm) override;
    void ended(const MoveRecord& record) override;

private:
    void take_hosts(const Surroundings& around);
    void take_vms(const Surroundings& around);
    void take_flights(const Surroundings& around);
    void add_flight(const std::string& vm, const std::string& from, const std::string& to);
    void measure_migrations(const Surroundings& around);
    void see_host(const FleetHost& host, const NicLoad* uplink, HostId id);
    void see_vm(const FleetVm& vm, const FleetHost& host, VmId id);
    [[nodiscard]] VmSpec spec_of(const Surroundings& around, const Fleet::Place& place);
    [[nodiscard]] double time_of(double own_clock) const { return own_clock + offset_; }
    [[nodiscard]] std::string hotspot_id(uint64_t id) const;
    [[nodiscard]] std::string name_of_host(HostId id) const;
    [[nodiscard]] std::string name_of_vm(VmId id) const;
    [[nodiscard]] ChosenMove chosen(const balancer::Move& move) const;
    [[nodiscard]] Json shown(const Rejection& rejection) const;

    const TimeSource& time_;
    int run_;
    double offset_; ///< from our clock to seconds since 1970, as it was at the start
    balancer::Fleet fleet_;
    std::optional<Observer> observer_;
    ObserverRules rules_; ///< the observer's
    std::map<std::string, HostId> hosts_;
    std::map<std::string, VmId> vms_;
    std::map<std::string, double> host_seen_; ///< arrival of the latest sample that was passed on
    std::map<std::string, double> vm_seen_;
    std::map<std::string, std::string> uplinks_; ///< by host: the one that is judged
    std::map<std::string, Traffic> migrating_;   ///< by host: our migrations
    Snapshot snapshot_;
    std::map<std::string, MigrationForecast> forecasts_; ///< by VM
    struct Past {
        std::string vm;
        std::string from;
        std::string to;
        double time;
        bool failed;
    };
    std::deque<Past> past_;
};

/// A host as the judge wants it, from what is configured and what it told of itself.
/// `uplink`: the one that is judged; null: none is known.
[[nodiscard]] HostSpec host_spec(const FleetHost& host, const NicLoad* uplink, Words& words);
/// The way that query-vm-forecast's answer recommends; nothing if it says nothing of use.
[[nodiscard]] std::optional<MigrationForecast> forecast_of(const Json& answer);
/// Words for -migrate-policy of what a definition or rule names: a policy of the configuration, or
/// words as they are.
[[nodiscard]] std::string policy_words(const Config& config, const std::string& policy);

} // namespace drover::balancer::cluster
