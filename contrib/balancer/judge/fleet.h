// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/amount.h"
#include "contrib/balancer/judge/words.h"

#include <limits>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace drover::balancer {

/// Stable in one Fleet, dense from 0, and never given to another host or VM.
using HostId = uint32_t;
using VmId = uint32_t;
constexpr HostId no_host = std::numeric_limits<HostId>::max();
constexpr VmId no_vm = std::numeric_limits<VmId>::max();

struct HostSpec {
    std::string name;
    WordSet groups;  ///< that it belongs to; usually one
    Amount capacity; ///< 0 of a resource: unknown, and then not judged
    /// Above this part of its capacity it is hot. For memory: what may be used before the host is
    /// taken to be about to swap.
    Amount threshold{{0.85, 0.95, 0.85, 0.85}};
    double swap_out_threshold = 1e6; ///< bytes/s
    /// The part of its capacity that a move must leave free below the threshold.
    Amount reserve{{0.05, 0.03, 0.05, 0.05}};
    WordSet offers;
    bool xen = false;    ///< runs guests that have a form for Xen, and no others
    double xen_free = 0; ///< bytes that Xen has free: a guest has all of its RAM from the start
    unsigned max_in = 2; ///< migrations at a time
    unsigned max_out = 2;
    bool receives = true;    ///< false: in maintenance, being evacuated, or unreachable
    bool evacuating = false; ///< all its VMs are to leave; then `receives` is false too
    double huge_free = 0;    ///< bytes of huge pages
    double link = 125e6;     ///< bytes/s that migrations may use, each direction
};

struct VmSpec {
    std::string name;
    double vcpus = 1;
    double memory = 0;            ///< bytes of RAM as configured
    double huge = 0;              ///< of them huge pages, which are no part of its demand
    bool pinned = false;          ///< moved only if a user asks
    bool reachable = true;        ///< its monitor answers; if not, it is never moved
    bool settling = false;        ///< it has just come: its host cannot let it go yet
    WordSet groups;               ///< host groups that it may be on; empty: any
    WordSet needs;                ///< its host must offer all of them
    bool for_qemu = true;         ///< its definition says how QEMU's hosts run it
    bool for_xen = false;         ///< the same of Xen's
    std::vector<WordId> together; ///< labels: VMs that share one share a host
    std::vector<WordId> apart;    ///< labels: VMs that share one do not
    std::string policy;           ///< of its migrations; empty: the planner chooses
    double expected_rx = 0;       ///< bytes/s promised, seen from the host; 0: nothing
    double expected_tx = 0;
};

/// Who there is, and which VM runs where. Not thread-safe.
class Fleet {
public:
    /// Names are the caller's to keep unique; a second one of a name hides the first from
    /// host_named().
    HostId add_host(HostSpec spec);
    VmId add_vm(VmSpec spec, HostId where);
    /// The new spec may have another name.
    void set_host(HostId host, HostSpec spec);
    void set_vm(VmId vm, VmSpec spec);
    /// Its VMs are then nowhere (no_host).
    void remove_host(HostId host);
    void remove_vm(VmId vm);
    /// Where it runs now, as far as is known; no_host: nowhere, or nobody knows.
    void place(VmId vm, HostId where);

    [[nodiscard]] bool has_host(HostId host) const
    {
        return host < hosts_.size() && hosts_[host].alive;
    }
    [[nodiscard]] bool has_vm(VmId vm) const { return vm < vms_.size() && vms_[vm].alive; }
    [[nodiscard]] const HostSpec& host(HostId host) const { return hosts_[host].spec; }
    [[nodiscard]] const VmSpec& vm(VmId vm) const { return vms_[vm].spec; }
    [[nodiscard]] HostId host_of(VmId vm) const { return vms_[vm].host; }
    [[nodiscard]] std::span<const VmId> vms_on(HostId host) const { return hosts_[host].vms; }
    [[nodiscard]] std::optional<HostId> host_named(std::string_view name) const;
    [[nodiscard]] std::optional<VmId> vm_named(std::string_view name) const;
    /// VMs with that label under `together` or `apart`.
    [[nodiscard]] std::span<const VmId> vms_labelled(WordId label) const;

    /// One more than the highest ID ever given; ask has_host() and has_vm() about each.
    [[nodiscard]] size_t host_ids() const { return hosts_.size(); }
    [[nodiscard]] size_t vm_ids() const { return vms_.size(); }

    [[nodiscard]] Words& words() { return words_; }
    [[nodiscard]] const Words& words() const { return words_; }

private:
    struct Host {
        HostSpec spec;
        std::vector<VmId> vms;
        bool alive = true;
    };
    struct Vm {
        VmSpec spec;
        HostId host = no_host;
        bool alive = true;
    };
    void label(VmId vm, bool with);

    std::vector<Host> hosts_;
    std::vector<Vm> vms_;
    std::unordered_map<std::string, HostId> hosts_by_name_;
    std::unordered_map<std::string, VmId> vms_by_name_;
    std::vector<std::vector<VmId>> by_label_;
    Words words_;
};

} // namespace drover::balancer
