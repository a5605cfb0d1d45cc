// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/fleet.h"

#include <string>

namespace drover::balancer {

enum class HotspotKind : uint8_t {
    VmBandwidth,   ///< a guest wants the bandwidth that it was promised and does not get it
    HostCpu,       ///< its guests want more processor time than is good
    HostBandwidth, ///< one direction of its network is nearly full
    HostSwap,      ///< it swaps out, is about to, or has next to no memory left
};

[[nodiscard]] std::string_view to_string(HotspotKind kind); ///< "vm-bandwidth", …

/// Something that should not last. Made by Observer::judge(); the same one has the same ID until it
/// is over.
struct Hotspot {
    uint64_t id = 0;
    HotspotKind kind = HotspotKind::HostCpu;
    HostId host = no_host;
    VmId vm = no_vm; ///< VmBandwidth only
    /// The resource that `value` is of; of HostSwap it is Memory.
    Resource resource = Resource::Cpu;
    double since = 0;      ///< time of the first sample above the threshold that counted
    double sure = 0;       ///< 0 to 1
    bool swapping = false; ///< HostSwap only: `value` is bytes/s swapped out
    /// In the resource's unit; if it is swapping, bytes/s swapped out; for VmBandwidth what the
    /// guest gets.
    double value = 0;
    double threshold = 0;  ///< same unit; VmBandwidth: below it is bad
    double predicted = 0;  ///< `value` in a minute
    bool forecast = false; ///< not there yet: a climb that leads there within the minute
    std::string cause;     ///< in words, with numbers
};

} // namespace drover::balancer
