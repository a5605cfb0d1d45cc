// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

namespace drover::state {

/// The interrupt controller of one vCPU. Its registers are as software sees them (SDM3 chapter
/// 11.4); its timer is told in the guest's own terms, since hypervisors clock it differently
/// (docs/machine-state.md, "The LAPIC's timer"). Kind "lapic", version 1.
struct Lapic {
    static constexpr const char* kind = "lapic";
    static constexpr uint32_t version = 1;

    uint32_t number = 0; ///< of its vCPU, from 0
    uint64_t base = 0;   ///< MSR 1b: address, and whether it is on
    uint32_t id = 0;     ///< as in the register's bits 24 … 31, shifted down
    uint32_t task_priority = 0;
    uint32_t logical_destination = 0; ///< bits 24 … 31, shifted down
    uint32_t destination_format = 0;  ///< bits 28 … 31, shifted down: 15 flat, 0 cluster
    uint32_t spurious = 0;
    std::array<uint32_t, 8> in_service = {};
    std::array<uint32_t, 8> trigger_mode = {};
    std::array<uint32_t, 8> requested = {};
    uint32_t error_status = 0;
    uint32_t command_low = 0;
    uint32_t command_high = 0;
    /// Of timer, thermal sensor, performance counters, LINT0, LINT1, error.
    std::array<uint32_t, 6> local_vectors = {};
    uint32_t divide_configuration = 0;
    uint32_t initial_count = 0;
    /// With which frequency the guest found this timer to count, before the divisor.
    uint64_t timer_hz = 0;
    int64_t timer_left = -1; ///< until it fires; -1: it does not, or nobody knows
};

template <class Visitor, PartOrConst<Lapic> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field({"number", "", "ours"}, it.number);
    visitor.field({"base", "", "SDM3 11.4.4"}, it.base);
    visitor.field({"id", "", "SDM3 11.4.6"}, it.id);
    visitor.field({"task-priority", "", "SDM3 11.8.3.1"}, it.task_priority);
    visitor.field({"logical-destination", "", "SDM3 11.6.2.2"}, it.logical_destination);
    visitor.field({"destination-format", "", "SDM3 11.6.2.2"}, it.destination_format);
    visitor.field({"spurious", "", "SDM3 11.9"}, it.spurious);
    visitor.field({"in-service", "", "SDM3 11.8.4"}, it.in_service);
    visitor.field({"trigger-mode", "", "SDM3 11.8.4"}, it.trigger_mode);
    visitor.field({"requested", "", "SDM3 11.8.4"}, it.requested);
    visitor.field({"error-status", "", "SDM3 11.5.3"}, it.error_status);
    visitor.field({"command-low", "", "SDM3 11.6.1"}, it.command_low);
    visitor.field({"command-high", "", "SDM3 11.6.1"}, it.command_high);
    visitor.field({"local-vectors", "", "SDM3 11.5.1"}, it.local_vectors);
    visitor.field({"divide-configuration", "", "SDM3 11.5.4"}, it.divide_configuration);
    visitor.field({"initial-count", "counts", "SDM3 11.5.4"}, it.initial_count);
    visitor.field({"timer", "hz", "ours"}, it.timer_hz);
    visitor.field({"timer-left", "ns", "ours"}, it.timer_left);
}

} // namespace drover::state
