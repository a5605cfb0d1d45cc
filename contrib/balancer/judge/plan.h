// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/snapshot.h"

namespace drover::balancer {

struct MoveCost {
    double seconds = 0;  ///< that the migration takes
    double bytes = 0;    ///< over the link
    double downtime = 0; ///< s
    double slowdown = 0; ///< 0 to 1
    bool keeps_wish = true;
    bool estimated = true;  ///< by us, from memory, dirty rate and link; not by the guest
    double disturbance = 0; ///< s: all of it in one number, to be held against the gain
};

struct Move {
    uint32_t id = 0; ///< in its plan, from 1
    VmId vm = no_vm;
    HostId from = no_host;
    HostId to = no_host;
    std::string policy; ///< empty: the migration's own default
    MoveCost cost;
    double gain = 0;                ///< hot-seconds that it avoids within the horizon
    std::vector<uint64_t> resolves; ///< hotspots' IDs
    std::vector<uint32_t> after;    ///< moves that must have ended well first
    std::string why;                ///< in words, with numbers
};

enum class Reason : uint8_t {
    None,
    Unknown,     ///< no such VM or host, or it runs nowhere
    Unreachable, ///< the VM's monitor, or the host
    Pinned,
    Settling, ///< it has just come, and its host is not done with that
    Moving,   ///< it is in a migration
    SameHost,
    NotReceiving, ///< the host takes no VMs
    Group,        ///< not one of the host groups of the VM
    Needs,        ///< the host does not offer what the VM needs
    Hypervisor,   ///< the VM's definition does not say how the host's would run it
    Apart,        ///< a VM that it must not meet is there
    Together,     ///< the VM that it must be with is elsewhere
    TooManyOut,   ///< migrations from its host
    TooManyIn,    ///< migrations to that host
    LinkBusy,     ///< too many migrations over one of the links
    VmCoolDown,
    HostCoolDown,
    HostHot,     ///< it has a hotspot itself
    WouldReturn, ///< it left that host lately
    FailedLately,
    Impossible, ///< the guest's own forecast says so
    NoRoomCpu,  ///< a new hotspot, or the reserve touched
    NoRoomMemory,
    NoRoomBandwidth,
    NoHugePages,
    NoGain,      ///< it would not help
    CostsMore,   ///< it would help less than it disturbs
    BetterThere, ///< it would have done, and another was better
};

[[nodiscard]] std::string_view to_string(Reason reason); ///< "pinned", "no-room-cpu", …

struct Rejection {
    uint64_t hotspot = 0; ///< 0: none
    VmId vm = no_vm;
    HostId to = no_host; ///< no_host: wherever to
    Reason reason = Reason::None;
    std::string why;
};

struct Verdict {
    uint64_t hotspot = 0;
    bool resolved = false;       ///< foreseen to be over after the moves
    std::vector<uint32_t> moves; ///< IDs; empty with resolved: migrations in flight do it
    std::string why;
};

struct Plan {
    double made = 0;
    double valid_for = 5; ///< s
    std::vector<Move> moves;
    std::vector<Rejection> rejected; ///< the best few of each hotspot
    std::vector<Verdict> verdicts;   ///< one for each hotspot, in the snapshot's order
    double heat_before = 0;          ///< hot-seconds expected within the horizon if nothing is done
    double heat_after = 0;
    double disturbance = 0; ///< s, of all moves
};

/// What to do about the snapshot's hotspots and evacuations. Pure: the same snapshot gives the same
/// plan. Moves are in the order in which they should be begun.
[[nodiscard]] Plan make_plan(const Snapshot& snapshot);

/// What a user asked for: a move of `vm` to `host`. Pinned and cool-downs do not hinder it, all
/// else does. `move` is set if it can be; else `why` and `reason` say why not.
struct Advice {
    std::optional<Move> move;
    Reason reason = Reason::None;
    std::string why;
    std::vector<Rejection> rejected; ///< best_target(): the best few others
};
[[nodiscard]] Advice check_move(const Snapshot& snapshot, VmId vm, HostId host);
/// The same, to the best host there is.
[[nodiscard]] Advice best_target(const Snapshot& snapshot, VmId vm);

} // namespace drover::balancer
