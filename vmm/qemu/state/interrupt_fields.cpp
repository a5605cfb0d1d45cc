// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/interrupt_fields.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_fields.h"

namespace drover::qemu {

namespace {

using state::PartOrConst;

constexpr uint64_t ioapic_address = 0xfec00000; // QEMU's never moves
constexpr size_t qemu_pins = 24;
constexpr uint64_t masked_entry = 1U << 16;
constexpr const char* sipi_subsection = "[apic_sipi]";

void tell_left_over(const FieldReader& fields, const state::Device& device,
                    std::vector<std::string>& told)
{
    for (const std::string& name : fields.left_over())
        told.push_back(device.name + " " + name + ": not known here");
}

template <class Fields, PartOrConst<state::Lapic> Self> void map_lapic(Fields& fields, Self& lapic)
{
    fields.number("apicbase", lapic.base);
    fields.number("id", lapic.id);
    fields.number("tpr", lapic.task_priority);
    fields.number("spurious_vec", lapic.spurious);
    fields.number("log_dest", lapic.logical_destination);
    fields.number("dest_mode", lapic.destination_format);
    fields.list("isr", lapic.in_service);
    fields.list("tmr", lapic.trigger_mode);
    fields.list("irr", lapic.requested);
    fields.list("lvt", lapic.local_vectors);
    fields.number("esr", lapic.error_status);
    fields.pass_over("arb_id"); // no bus is arbitrated for
}

bool counts(const state::Lapic& lapic, uint32_t initial_count)
{
    constexpr uint32_t mask = 1U << 16;
    constexpr uint32_t tsc_deadline = 2;
    return initial_count != 0 && (lapic.local_vectors[0] & mask) == 0 &&
           (lapic.local_vectors[0] >> 17 & 3) != tsc_deadline;
}

void write_lapic_timer(FieldWriter& fields, const state::Lapic& lapic, int64_t run_time)
{
    const state::LapicTimer timer = state::timer_for(lapic, state::qemu_lapic_hz);
    const auto shift =
        static_cast<unsigned>(std::countr_zero(state::divisor_of(timer.divide_configuration)));
    fields.set("divide_conf", timer.divide_configuration);
    fields.set("count_shift", shift);
    fields.set("initial_count", timer.initial_count);
    // One that nobody knows the rest of fires at once: early, and never late.
    const bool runs = counts(lapic, timer.initial_count);
    const int64_t left = lapic.timer_left >= 0 ? lapic.timer_left : 0;
    const auto period = static_cast<int64_t>(uint64_t{timer.initial_count} << shift);
    fields.set("initial_count_load_time",
               static_cast<uint64_t>(timer.initial_count == 0 ? 0 : run_time + left - period));
    fields.set("next_time", static_cast<uint64_t>(runs ? run_time + left : 0));
    fields.set("timer_expiry", static_cast<uint64_t>(runs ? run_time + left : int64_t{-1}));
}

void read_lapic_timer(FieldReader& fields, state::Lapic& lapic, const SavedTimes& times)
{
    state::LapicTimer timer;
    fields.number("divide_conf", timer.divide_configuration);
    fields.number("initial_count", timer.initial_count);
    state::set_timer(lapic, timer, state::qemu_lapic_hz, times.born_hz);
    const auto expiry = static_cast<int64_t>(fields.get("timer_expiry"));
    lapic.timer_left = expiry >= 0 ? std::max<int64_t>(expiry - times.run_time, 0) : -1;
    // These follow from the others.
    for (const char* name : {"count_shift", "initial_count_load_time", "next_time"})
        fields.pass_over(name);
}

template <class Fields, PartOrConst<state::PicChip> Self>
void map_pic_chip(Fields& fields, Self& chip)
{
    fields.number("last_irr", chip.last_lines);
    fields.number("irr", chip.requested);
    fields.number("imr", chip.masked);
    fields.number("isr", chip.in_service);
    fields.number("priority_add", chip.priority_add);
    fields.number("irq_base", chip.vector_base);
    fields.number("read_reg_select", chip.read_in_service);
    fields.number("poll", chip.poll);
    fields.number("special_mask", chip.special_mask);
    fields.number("init_state", chip.init_state);
    fields.number("auto_eoi", chip.auto_eoi);
    fields.number("rotate_on_auto_eoi", chip.rotate_on_auto_eoi);
    fields.number("special_fully_nested_mode", chip.special_fully_nested);
    fields.number("init4", chip.expects_icw4);
    fields.number("single_mode", chip.single);
    fields.number("elcr", chip.level_triggered);
}

} // namespace

Result<state::Lapic> read_lapic(const state::Device& device, const SavedTimes& times,
                                std::vector<std::string>& told)
{
    state::Lapic lapic;
    lapic.number = device.instance;
    FieldReader fields(device);
    map_lapic(fields, lapic);
    const auto command = fields.get_list("icr", 2);
    lapic.command_low = static_cast<uint32_t>(command[0]);
    lapic.command_high = static_cast<uint32_t>(command[1]);
    read_lapic_timer(fields, lapic, times);
    fields.pass_over(sipi_subsection); // a vCPU's run state
    if (!fields.status())
        return std::unexpected(fields.status().error());
    tell_left_over(fields, device, told);
    return lapic;
}

Status write_lapic(const state::Lapic& lapic, bool waits_for_sipi, const SavedTimes& times,
                   state::Device& device)
{
    const std::string waits = std::string(sipi_subsection) + "/wait_for_sipi";
    if (waits_for_sipi && find_field(device, sipi_subsection) == nullptr) {
        device.fields.push_back({sipi_subsection, std::string(subsection_type), {0, 0, 0, 1}});
        for (const char* name : {"/sipi_vector", "/wait_for_sipi"})
            device.fields.push_back({std::string(sipi_subsection) + name, "int32", {0, 0, 0, 0}});
    }
    FieldWriter fields(device);
    map_lapic(fields, lapic);
    fields.set_element("icr", 0, 2, lapic.command_low);
    fields.set_element("icr", 1, 2, lapic.command_high);
    write_lapic_timer(fields, lapic, times.run_time);
    fields.set(waits, waits_for_sipi ? 1 : 0);
    return fields.status();
}

Result<state::IoApic> read_ioapic(const state::Device& device, std::vector<std::string>& told)
{
    state::IoApic ioapic = {.address = ioapic_address, .redirection = {}};
    FieldReader fields(device);
    fields.number("id", ioapic.id);
    fields.number("ioregsel", ioapic.select);
    fields.number("irr", ioapic.lines);
    ioapic.redirection = fields.get_list("ioredtbl", qemu_pins);
    fields.pass_over("unused");
    if (!fields.status())
        return std::unexpected(fields.status().error());
    tell_left_over(fields, device, told);
    return ioapic;
}

Status write_ioapic(const state::IoApic& ioapic, state::Device& device)
{
    if (ioapic.address != ioapic_address)
        return fail(ErrorKind::Incompatible, "the guest has moved its I/O APIC");
    for (size_t pin = qemu_pins; pin < ioapic.redirection.size(); ++pin)
        if ((ioapic.redirection[pin] & masked_entry) == 0)
            return fail(ErrorKind::Incompatible,
                        "the guest uses pin " + std::to_string(pin) +
                            " of the I/O APIC, and QEMU's has 24 of them",
                        "a PCI device without MSI interrupts: detach it in the guest");
    FieldWriter fields(device);
    fields.set("id", ioapic.id);
    fields.set("ioregsel", ioapic.select);
    fields.set("irr", ioapic.lines & ((uint64_t{1} << qemu_pins) - 1));
    for (size_t pin = 0; pin < qemu_pins; ++pin)
        fields.set_element("ioredtbl", pin, qemu_pins,
                           pin < ioapic.redirection.size() ? ioapic.redirection[pin]
                                                           : masked_entry);
    return fields.status();
}

Result<state::PicChip> read_pic_chip(const state::Device& device, std::vector<std::string>& told)
{
    state::PicChip chip;
    FieldReader fields(device);
    map_pic_chip(fields, chip);
    if (!fields.status())
        return std::unexpected(fields.status().error());
    tell_left_over(fields, device, told);
    return chip;
}

Status write_pic_chip(const state::PicChip& chip, state::Device& device)
{
    FieldWriter fields(device);
    map_pic_chip(fields, chip);
    return fields.status();
}

} // namespace drover::qemu
