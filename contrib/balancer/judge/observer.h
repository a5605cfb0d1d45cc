// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/snapshot.h"

#include <memory>
#include <span>

namespace drover::balancer {

struct ObserverRules {
    double persistence = 30; ///< s above the threshold make a hotspot, whatever the samples' rate
    double swap_persistence = 5; ///< s of swapping do: it hurts at once
    double calm = 30;            ///< s below it without a break end one
    double stale = 30;           ///< s: what was not heard of for so long is not known
    double ahead = 60;           ///< s: how far ahead the forecast is asked
    double vm_shortfall = 0.9;   ///< of the promised bandwidth: less than that is a hotspot
    bool seasons = true;         ///< learn the course of the day
};

/// Remembers what was measured and tells what it means. Knows no clock but the samples' times.
/// Not thread-safe. Each round: see_host() and see_vm() for what has come, then judge().
class Observer {
public:
    /// `fleet` is not owned and outlives the observer; hosts and VMs may come and go in it, and
    /// what is known of a VM moves with it when Fleet::place() says so.
    explicit Observer(const Fleet& fleet, ObserverRules rules = {});
    ~Observer();
    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;

    void see_host(HostId host, const HostSample& sample);
    void see_vm(VmId vm, const VmSample& sample);

    /// Finds, keeps and ends hotspots as of `now` (seconds since 1970).
    void judge(double now);
    /// Those there are, the surest first.
    [[nodiscard]] const std::vector<Hotspot>& hotspots() const;

    /// What a plan is made from; its in_flight, recent, forecasts and rules are the caller's to
    /// fill. `horizon` (s) is how far `later` looks.
    [[nodiscard]] Snapshot snapshot(double now, double horizon = Rules{}.horizon) const;
    /// The same into a snapshot that is used again, which saves its memory's coming and going.
    void fill(Snapshot& snapshot, double now) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace drover::balancer
