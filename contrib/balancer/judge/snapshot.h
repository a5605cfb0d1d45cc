// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/hotspot.h"
#include "contrib/balancer/judge/samples.h"

#include <unordered_map>

namespace drover::balancer {

struct HostView {
    Amount demand;    ///< what would be used if there were enough of it: used, and waited for
    Amount predicted; ///< demand in the next minute, without our migrations
    Amount sigma;     ///< standard deviation of the demand about that
    Amount later;     ///< what the season adds at most within the rules' horizon; 0 or more
    double swap_out = 0;
    bool fresh = false; ///< heard of lately; if not, it is no source and no target
};

struct VmView {
    Amount demand;
    Amount predicted; ///< of rx and tx at least what it was promised, if it wants more
    Amount later;     ///< what its season adds at most within the rules' horizon
    double dirty_rate = 0;
    bool fresh = false;
};

/// A migration that runs, or one that was ordered and has not begun.
struct InFlight {
    VmId vm = no_vm;
    HostId from = no_host;
    HostId to = no_host;
    std::vector<uint64_t> resolves; ///< hotspots' IDs, as in the Move
};

struct PastMove {
    VmId vm = no_vm;
    HostId from = no_host;
    HostId to = no_host;
    double time = 0;     ///< when it ended
    bool failed = false; ///< then the VM is still at `from`
};

struct Rules {
    double horizon = 1800;        ///< s: gains and losses are counted so far ahead
    double patience = 90;         ///< s: what moves that take so long gain counts half
    double vm_cool_down = 300;    ///< s after a move before the VM moves again
    double host_cool_down = 30;   ///< s after a move before its hosts take part in another
    double no_return = 1800;      ///< s: a VM does not go back to a host that it left
    double failed_back_off = 300; ///< s: not the same VM to the same host after a failure
    unsigned max_per_link = 2;    ///< migrations over one host's link at a time, both directions
    unsigned max_moves = 64;      ///< of one plan
    unsigned kept_rejections = 8; ///< of each hotspot
    double move_fee =
        200; ///< s of disturbance that any move counts for: it may fail, and cost others
    double downtime_weight = 20;    ///< a second of downtime disturbs as much as so many others
    double default_slowdown = 0.05; ///< of a guest that moves, where no forecast says it
    double broken_wish = 60;   ///< s that a move counts for more if the guest's wish is not kept
    std::string policy;        ///< of VMs without one; empty: the migration's own default
    std::string urgent_policy; ///< the same where a host swaps or is evacuated; empty: `policy`
};

/// All that a plan depends on.
struct Snapshot {
    const Fleet* fleet = nullptr; ///< not owned; must outlive it, unchanged while a plan is made
    double now = 0;
    std::vector<HostView> hosts; ///< by HostId, Fleet::host_ids() of them
    std::vector<VmView> vms;     ///< by VmId
    std::vector<Hotspot> hotspots;
    std::vector<InFlight> in_flight;
    std::vector<PastMove> recent; ///< of the last hour; what is older is ignored
    std::unordered_map<VmId, MigrationForecast> forecasts; ///< of those that were asked
    Rules rules;
};

} // namespace drover::balancer
