// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/state/hvm_cpu_layout.h"

/// The records that are a domain's and no vCPU's: Xen's public header arch-x86/hvm/save.h.
namespace drover::xen {

constexpr uint32_t hvm_magic = 0x54381286;
constexpr uint32_t hvm_version = 1;

struct HvmHeader {
    uint32_t magic = hvm_magic;
    uint32_t version = hvm_version;
    uint64_t changeset = UINT64_MAX; ///< of Xen's source: not told
    uint32_t cpuid = 0;              ///< CPUID leaf 1's EAX of the host
    uint32_t tsc_khz = 0;
};

template <class Visitor, state::PartOrConst<HvmHeader> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("magic"), it.magic);
    visitor.field(hvm_field("version"), it.version);
    visitor.field(hvm_field("changeset"), it.changeset);
    visitor.field(hvm_field("cpuid"), it.cpuid);
    visitor.field(hvm_field("gtsc_khz"), it.tsc_khz);
}

struct HvmPic {
    uint8_t requested = 0;
    uint8_t masked = 0;
    uint8_t in_service = 0;
    uint8_t vector_base = 0;
    uint8_t init_and_priority = 0; ///< bits 0 … 3: what is awaited, 4 … 7: the highest input
    uint8_t modes = 0;             ///< PicMode
    uint8_t level_triggered = 0;
    uint8_t output = 0; ///< whether it asks for an interrupt
};

template <class Visitor, state::PartOrConst<HvmPic> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("irr"), it.requested);
    visitor.field(hvm_field("imr"), it.masked);
    visitor.field(hvm_field("isr"), it.in_service);
    visitor.field(hvm_field("irq_base"), it.vector_base);
    visitor.field(hvm_field("init_state, priority_add"), it.init_and_priority);
    visitor.field(hvm_field("modes"), it.modes);
    visitor.field(hvm_field("elcr"), it.level_triggered);
    visitor.field(hvm_field("int_output"), it.output);
}

constexpr size_t xen_ioapic_pins = 48;

struct HvmIoApic {
    uint64_t address = 0;
    uint32_t select = 0;
    uint32_t id = 0;
    std::array<uint64_t, xen_ioapic_pins> redirection = {};
};

template <class Visitor, state::PartOrConst<HvmIoApic> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("base_address"), it.address);
    visitor.field(hvm_field("ioregsel"), it.select);
    visitor.field(hvm_field("id"), it.id);
    visitor.field(hvm_field("redirtbl"), it.redirection);
}

/// PCI_IRQ: bit device × 4 + pin.
struct HvmPciIrq {
    std::array<uint64_t, 2> asserted = {};
};

template <class Visitor, state::PartOrConst<HvmPciIrq> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("i"), it.asserted);
}

/// ISA_IRQ: a bit a line.
struct HvmIsaIrq {
    uint64_t asserted = 0;
};

template <class Visitor, state::PartOrConst<HvmIsaIrq> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("i"), it.asserted);
}

struct HvmPciLink {
    std::array<uint8_t, 4> route = {};
    uint32_t pad = 0;
};

template <class Visitor, state::PartOrConst<HvmPciLink> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("route"), it.route);
    visitor.field(hvm_field("pad0"), it.pad);
}

struct HvmPitChannel {
    uint32_t count = 0;
    uint16_t latched_count = 0;
    uint8_t count_latched = 0;
    uint8_t status_latched = 0;
    uint8_t status = 0;
    uint8_t read_state = 0;
    uint8_t write_state = 0;
    uint8_t write_latch = 0;
    uint8_t access = 0;
    uint8_t mode = 0;
    uint8_t bcd = 0;
    uint8_t gate = 0;
};

template <class Visitor, state::PartOrConst<HvmPitChannel> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("count"), it.count);
    visitor.field(hvm_field("latched_count"), it.latched_count);
    visitor.field(hvm_field("count_latched"), it.count_latched);
    visitor.field(hvm_field("status_latched"), it.status_latched);
    visitor.field(hvm_field("status"), it.status);
    visitor.field(hvm_field("read_state"), it.read_state);
    visitor.field(hvm_field("write_state"), it.write_state);
    visitor.field(hvm_field("write_latch"), it.write_latch);
    visitor.field(hvm_field("rw_mode"), it.access);
    visitor.field(hvm_field("mode"), it.mode);
    visitor.field(hvm_field("bcd"), it.bcd);
    visitor.field(hvm_field("gate"), it.gate);
}

struct HvmPit {
    std::array<HvmPitChannel, 3> channels = {};
    uint32_t speaker_on = 0;
    uint32_t pad = 0;
};

template <class Visitor, state::PartOrConst<HvmPit> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("channels"), it.channels);
    visitor.field(hvm_field("speaker_data_on"), it.speaker_on);
    visitor.field(hvm_field("pad0"), it.pad);
}

struct HvmRtc {
    std::array<uint8_t, 14> registers = {};
    uint8_t index = 0;
    uint8_t pad = 0;
    int64_t offset = 0; ///< seconds, ahead of the host's clock
};

template <class Visitor, state::PartOrConst<HvmRtc> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("cmos_data"), it.registers);
    visitor.field(hvm_field("cmos_index"), it.index);
    visitor.field(hvm_field("pad0"), it.pad);
    visitor.field(hvm_field("rtc_offset"), it.offset);
}

constexpr size_t hpet_timers = 3;

struct HvmHpetTimer {
    uint64_t config = 0;
    uint64_t comparator = 0;
    uint64_t route = 0;
    uint64_t reserved = 0;
};

template <class Visitor, state::PartOrConst<HvmHpetTimer> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("config"), it.config);
    visitor.field(hvm_field("cmp"), it.comparator);
    visitor.field(hvm_field("fsb"), it.route);
    visitor.field(hvm_field("res4"), it.reserved);
}

struct HvmHpet {
    uint64_t capability = 0;
    uint64_t reserved0 = 0;
    uint64_t config = 0;
    uint64_t reserved1 = 0;
    uint64_t status = 0;
    std::array<uint64_t, 25> reserved2 = {};
    uint64_t counter = 0;
    uint64_t reserved3 = 0;
    std::array<HvmHpetTimer, hpet_timers> timers = {};
    std::array<uint64_t, 84> reserved4 = {};
    std::array<uint64_t, hpet_timers> period = {};
};

template <class Visitor, state::PartOrConst<HvmHpet> Self> void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("capability"), it.capability);
    visitor.field(hvm_field("res0"), it.reserved0);
    visitor.field(hvm_field("config"), it.config);
    visitor.field(hvm_field("res1"), it.reserved1);
    visitor.field(hvm_field("isr"), it.status);
    visitor.field(hvm_field("res2"), it.reserved2);
    visitor.field(hvm_field("mc64"), it.counter);
    visitor.field(hvm_field("res3"), it.reserved3);
    visitor.field(hvm_field("timers"), it.timers);
    visitor.field(hvm_field("res5"), it.reserved4);
    visitor.field(hvm_field("period"), it.period);
}

struct HvmPmTimer {
    uint32_t timer = 0;
    uint16_t status = 0;
    uint16_t enable = 0;
};

template <class Visitor, state::PartOrConst<HvmPmTimer> Self>
void describe(Visitor& visitor, Self& it)
{
    visitor.field(hvm_field("tmr_val"), it.timer);
    visitor.field(hvm_field("pm1a_sts"), it.status);
    visitor.field(hvm_field("pm1a_en"), it.enable);
}

} // namespace drover::xen
