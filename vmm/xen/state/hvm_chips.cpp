// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_chips.h"

#include "vmm/xen/state/hvm_pic.h"
#include "vmm/xen/state/hvm_wires.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr int64_t second = 1'000'000'000; // ns
constexpr int64_t most_seconds_ahead = INT64_MAX / second;
constexpr uint64_t hpet_counts = 1; ///< in its configuration
constexpr uint64_t masked_entry = 1U << 16;
constexpr size_t isa_pins = 16;
constexpr uint8_t pit_never_set = 0xff; ///< Xen's mode of a channel that nobody has set
constexpr uint8_t pit_reset_mode = 3;   ///< which QEMU has after a reset
constexpr uint8_t cascade_line = 1U << 2;

/// What Xen's HPET has before anybody sets it (4.17): 62.5 MHz, three timers.
constexpr uint64_t xen_hpet_capability = 0x00f424008086a201;
constexpr uint64_t xen_hpet_timer = 0x00f0000000000030;

std::unexpected<Error> strange_chip(const char* chip)
{
    return fail(ErrorKind::Protocol,
                "the hypervisor's record " + std::string(chip) + " has what its chip cannot have");
}

class ChipReader {
public:
    ChipReader(const HvmContext& context, state::MachineState& machine)
        : context_(context), machine_(machine)
    {
    }

    Status read()
    {
        for (const auto step :
             {&ChipReader::take_wires, &ChipReader::take_pic, &ChipReader::take_ioapic,
              &ChipReader::take_pit, &ChipReader::take_rtc, &ChipReader::look_at_hpet})
            if (const Status done = (this->*step)(); !done)
                return done;
        return {};
    }

private:
    template <class Record> Result<Record> get(HvmType type, uint16_t instance = 0) const
    {
        const HvmRecord* record = context_.find(type, instance);
        if (record == nullptr)
            return fail(ErrorKind::Incompatible,
                        "the hypervisor's records have no " + std::string(to_string(type)));
        return decode_record<Record>(*record);
    }

    Status take_wires()
    {
        const auto pci = get<HvmPciIrq>(HvmType::PciIrq);
        const auto isa = get<HvmIsaIrq>(HvmType::IsaIrq);
        const auto link = get<HvmPciLink>(HvmType::PciLink);
        if (!pci)
            return std::unexpected(pci.error());
        if (!isa)
            return std::unexpected(isa.error());
        if (!link)
            return std::unexpected(link.error());
        if (isa->asserted > UINT16_MAX)
            return strange_chip("ISA_IRQ");
        if (link->pad != 0 ||
            std::ranges::any_of(link->route, [](uint8_t line) { return line >= isa_pins; }))
            return strange_chip("PCI_LINK");
        state::PciRouting& routing = machine_.pci_routing.emplace();
        routing.route = link->route;
        routing.lines = pci_lines_of(*pci);
        lines_ = static_cast<uint16_t>(isa->asserted | routed_lines(routing));
        return {};
    }

    Status take_pic()
    {
        state::Pic& pic = machine_.pic.emplace();
        for (size_t i = 0; i < pic.chips.size(); ++i) {
            const auto record = get<HvmPic>(HvmType::Pic, static_cast<uint16_t>(i));
            if (!record)
                return std::unexpected(record.error());
            const bool master = i == 0;
            auto chip = read_pic(*record, master, static_cast<uint8_t>(lines_ >> 8 * i));
            if (!chip)
                return std::unexpected(chip.error());
            pic.chips[i] = *chip;
            if (!master && record->output != 0)
                pic.chips[0].last_lines |= cascade_line;
        }
        return {};
    }

    Status take_ioapic()
    {
        const auto record = get<HvmIoApic>(HvmType::IoApic);
        if (!record)
            return std::unexpected(record.error());
        // ISA's line 0 is wired to pin 2.
        const uint64_t isa = (lines_ & ~uint64_t{1}) | (lines_ & 1) << 2;
        machine_.ioapic =
            state::IoApic{.address = record->address,
                          .id = record->id,
                          .select = record->select,
                          .redirection = {record->redirection.begin(), record->redirection.end()},
                          .lines = isa | direct_pins(machine_.pci_routing->lines)};
        return {};
    }

    Status take_pit()
    {
        const auto record = get<HvmPit>(HvmType::Pit);
        if (!record)
            return std::unexpected(record.error());
        state::Pit& pit = machine_.pit.emplace();
        if (record->pad != 0 || record->speaker_on > 1)
            return strange_chip("PIT");
        for (size_t i = 0; i < pit.channels.size(); ++i) {
            const HvmPitChannel& from = record->channels[i];
            if (from.status_latched > 1 || from.bcd > 1 || from.gate > 1)
                return strange_chip("PIT");
            pit.channels[i] = {.count = from.count,
                               .latched_count = from.latched_count,
                               .count_latched = from.count_latched,
                               .status_latched = from.status_latched != 0,
                               .status = from.status,
                               .read_state = from.read_state,
                               .write_state = from.write_state,
                               .write_latch = from.write_latch,
                               .access = from.access,
                               .mode = from.mode == pit_never_set ? pit_reset_mode : from.mode,
                               .bcd = from.bcd != 0,
                               .gate = from.gate != 0,
                               .since_load = -1};
        }
        pit.speaker_on = record->speaker_on != 0;
        return {};
    }

    Status take_rtc()
    {
        const auto record = get<HvmRtc>(HvmType::Rtc);
        if (!record)
            return std::unexpected(record.error());
        if (record->pad != 0 || record->offset > most_seconds_ahead ||
            record->offset < -most_seconds_ahead)
            return strange_chip("RTC");
        state::Rtc& rtc = machine_.rtc.emplace();
        rtc.registers = record->registers;
        rtc.index = record->index;
        rtc.ahead = record->offset * second;
        return {};
    }

    Status look_at_hpet()
    {
        if (context_.find(HvmType::Hpet) == nullptr)
            return {};
        const auto record = get<HvmHpet>(HvmType::Hpet);
        if (!record)
            return std::unexpected(record.error());
        if ((record->config & hpet_counts) != 0)
            return fail(ErrorKind::Incompatible,
                        "the guest uses its HPET, whose clock has another speed elsewhere",
                        "boot it with hpet=0 in its xl configuration");
        return {};
    }

    const HvmContext& context_;
    state::MachineState& machine_;
    uint16_t lines_ = 0; ///< ISA's, as the controllers see them
};

HvmPit pit_of(const state::Pit& pit)
{
    HvmPit record;
    for (size_t i = 0; i < pit.channels.size(); ++i) {
        const state::PitChannel& from = pit.channels[i];
        record.channels[i] = {.count = from.count,
                              .latched_count = from.latched_count,
                              .count_latched = from.count_latched,
                              .status_latched = from.status_latched,
                              .status = from.status,
                              .read_state = from.read_state,
                              .write_state = from.write_state,
                              .write_latch = from.write_latch,
                              .access = from.access,
                              .mode = from.mode,
                              .bcd = from.bcd,
                              .gate = from.gate};
    }
    record.speaker_on = pit.speaker_on ? 1 : 0;
    return record;
}

HvmIoApic ioapic_of(const state::IoApic& ioapic)
{
    HvmIoApic record{.address = ioapic.address, .select = ioapic.select, .id = ioapic.id};
    record.redirection.fill(masked_entry);
    std::copy_n(ioapic.redirection.begin(),
                std::min(ioapic.redirection.size(), record.redirection.size()),
                record.redirection.begin());
    return record;
}

/// To the nearest.
int64_t whole_seconds(int64_t ns)
{
    const int64_t rest = ns % second;
    return ns / second + (rest >= second / 2 ? 1 : 0) - (rest <= -second / 2 ? 1 : 0);
}

HvmHpet hpet_that_is_off()
{
    HvmHpet hpet;
    hpet.capability = xen_hpet_capability;
    for (HvmHpetTimer& timer : hpet.timers) {
        timer.config = xen_hpet_timer;
        timer.comparator = UINT64_MAX;
    }
    return hpet;
}

void write_wires(const state::MachineState& machine, HvmContext& context)
{
    const state::PciRouting routing = machine.pci_routing.value_or(state::PciRouting());
    uint16_t seen = 0;
    if (machine.pic)
        seen = static_cast<uint16_t>(machine.pic->chips[0].last_lines |
                                     machine.pic->chips[1].last_lines << 8);
    context.add(HvmType::PciIrq, 0, pci_wires_of(routing.lines));
    context.add(HvmType::IsaIrq, 0, HvmIsaIrq{.asserted = isa_wires_of(seen, routing)});
    context.add(HvmType::PciLink, 0, HvmPciLink{.route = routing.route});
}

} // namespace

bool is_born_on_xen(const state::MachineState& machine)
{
    return machine.acpi_pm && machine.acpi_pm->port == xen_pm_port;
}

Status read_chips(const HvmContext& context, state::MachineState& machine)
{
    return ChipReader(context, machine).read();
}

void write_chips(const state::MachineState& machine, HvmContext& context)
{
    write_wires(machine, context);
    if (machine.pic)
        for (size_t i = 0; i < machine.pic->chips.size(); ++i)
            context.add(HvmType::Pic, i, pic_of(machine.pic->chips[i], i == 0));
    if (machine.ioapic)
        context.add(HvmType::IoApic, 0, ioapic_of(*machine.ioapic));
    if (machine.pit)
        context.add(HvmType::Pit, 0, pit_of(*machine.pit));
    if (machine.rtc)
        context.add(HvmType::Rtc, 0,
                    HvmRtc{.registers = machine.rtc->registers,
                           .index = machine.rtc->index,
                           .offset = whole_seconds(machine.rtc->ahead)});
    context.add(HvmType::Hpet, 0, hpet_that_is_off());
}

void judge_chips(const state::MachineState& machine, bool born_on_xen, XenFit& fit)
{
    if (!machine.pic || !machine.ioapic || !machine.pit || !machine.rtc || !machine.pci_routing)
        fit.refuse("it is no PC with PIC, IOAPIC, PIT, RTC and PCI, as all of Xen's guests are");
    if (machine.pci_routing &&
        std::ranges::any_of(machine.pci_routing->route, [](auto line) { return line >= isa_pins; }))
        fit.refuse("its PCI devices' interrupts go to lines above 15, where Xen has no wires");
    if (!machine.ioapic)
        return;
    const auto& pins = machine.ioapic->redirection;
    if (pins.size() > xen_ioapic_pins)
        fit.refuse("its IOAPIC has more than 48 pins");
    for (size_t i = isa_pins; i < pins.size() && !born_on_xen; ++i)
        if ((pins[i] & masked_entry) == 0)
            fit.refuse("it uses the IOAPIC's pin " + std::to_string(i) +
                       ", which has other wires on Xen (only pins below 16 are the same)");
}

} // namespace drover::xen
