// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/plan.h"

#include <span>

namespace drover::balancer {

constexpr size_t most_steps = 16; ///< that are evaluated together

/// One VM from one host to another.
struct Step {
    VmId vm = no_vm;
    HostId from = no_host;
    HostId to = no_host;
    friend bool operator==(const Step&, const Step&) = default;
};

/// Why a move is thought of; it decides which rules hold.
enum class Purpose { Relief, Evacuation, Asked };

struct HostState {
    Amount after;     ///< predicted, when all that is in flight or planned is over
    Amount peak;      ///< the same, while what leaves has not left yet
    Amount later;     ///< what the season adds
    unsigned out = 0; ///< migrations, in flight and planned
    unsigned in = 0;
    bool hot = false;     ///< has a hotspot
    bool cooling = false; ///< took part in a move just now
    double heat = 0;      ///< of `after`
};

/// What steps do together.
struct Outcome {
    Reason refusal = Reason::None; ///< None: they can be made
    HostId where = no_host;        ///< at which host not; none: there is no order for the steps
    double heat = 0;               ///< change in hot-seconds; below 0 is good
    double disturbance = 0;        ///< s

    [[nodiscard]] bool possible() const { return refusal == Reason::None; }
    [[nodiscard]] double score() const { return heat + disturbance; }
};

/// A snapshot made ready for planning, with the steps that are planned so far. All of the
/// decision's arithmetic is here (docs/balancer.md); the search above it only asks.
class Scene {
public:
    explicit Scene(const Snapshot& snapshot);

    [[nodiscard]] const Snapshot& snapshot() const { return snapshot_; }
    [[nodiscard]] const Fleet& fleet() const { return *snapshot_.fleet; }
    [[nodiscard]] const Rules& rules() const { return snapshot_.rules; }
    [[nodiscard]] const HostState& host(HostId host) const { return hosts_[host]; }
    [[nodiscard]] size_t host_count() const { return hosts_.size(); }
    /// What the VM adds to a host.
    [[nodiscard]] const Amount& load_of(VmId vm) const { return snapshot_.vms[vm].predicted; }

    /// Hot-seconds expected of a host with that load.
    [[nodiscard]] double heat(HostId host, const Amount& after, const Amount& later) const;
    /// The most that a move may leave on a host.
    [[nodiscard]] double limit(HostId host, Resource resource) const;
    /// Bytes of huge pages that a host has for one more VM.
    [[nodiscard]] double huge_left(HostId host) const;
    /// The same of what a Xen host has free.
    [[nodiscard]] double xen_left(HostId host) const;
    /// Whether it is a Xen host that has not the RAM of one more VM.
    [[nodiscard]] bool lacks_ram(VmId vm, HostId host) const;

    [[nodiscard]] Reason vm_refusal(VmId vm, Purpose purpose) const;
    /// Of a host for a VM, as to everything but room and numbers of migrations. `along`: VMs that
    /// go there with it.
    [[nodiscard]] Reason pair_refusal(VmId vm, HostId to, Purpose purpose,
                                      std::span<const VmId> along = {}) const;
    [[nodiscard]] Reason host_refusal(HostId to, Purpose purpose) const;
    /// Of a host for any VM: what has nothing to do with the VM, nor with cool-downs.
    [[nodiscard]] Reason door_refusal(HostId to) const;
    [[nodiscard]] MoveCost cost(const Step& step) const;

    /// Steps on top of those planned; room, numbers of migrations, and whether they can be ordered.
    [[nodiscard]] Outcome evaluate(std::span<const Step> steps) const;
    /// Of the heat that moves take from a hot host, what counts if they are over in `seconds`.
    [[nodiscard]] double part_gained(double seconds) const;
    /// For each step, which of the steps must have ended before it; nothing if no order will do.
    [[nodiscard]] std::optional<std::vector<std::vector<size_t>>>
    order(std::span<const Step> steps, std::vector<size_t>& sequence) const;

    void commit(const Step& step) { apply(step, 1); }
    void undo(const Step& step) { apply(step, -1); }

private:
    struct Touch;
    void read_in_flight();
    void read_past();
    void read_hotspots();
    void apply(const Step& step, int sign);
    [[nodiscard]] Reason touch_refusal(const Touch& at) const;
    [[nodiscard]] double heat_change(const Touch& at) const;
    [[nodiscard]] bool wait_for_others(std::span<const Step> steps, std::span<double> ends) const;
    [[nodiscard]] Reason numbers_refusal(HostId host, unsigned in, unsigned out) const;
    [[nodiscard]] Reason room_refusal(HostId host, const Amount& final) const;
    [[nodiscard]] Reason company_refusal(VmId vm, HostId to, std::span<const VmId> along) const;
    [[nodiscard]] bool must_part(VmId a, VmId b) const;
    [[nodiscard]] bool is_below(HostId host) const; ///< its thresholds, when all is over
    [[nodiscard]] bool may_be_on(VmId vm, HostId host) const;
    [[nodiscard]] bool fits_meanwhile(HostId host, const Amount& load) const;

    const Snapshot& snapshot_;
    std::vector<HostState> hosts_;
    std::unordered_map<VmId, HostId> going_; ///< in flight or planned
    std::unordered_map<VmId, std::vector<const PastMove*>> past_;
};

/// Another VM's going would mend it.
[[nodiscard]] bool is_no_room(Reason reason);

/// Why, in words with numbers.
[[nodiscard]] std::string refusal_text(const Scene& scene, Reason reason, VmId vm, HostId to);

/// Why no host at all is looked at for the VM: what is said of each other one (door_refusal), and
/// the reason of which there is most hope.
struct NobodyTakes {
    Reason reason = Reason::NotReceiving;
    std::string why;
};
[[nodiscard]] NobodyTakes nobody_takes(const Scene& scene, VmId vm);

} // namespace drover::balancer
