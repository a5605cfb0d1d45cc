// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/clock_fields.h"
#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_copy.h"
#include "vmm/qemu/state/device_fields.h"
#include "vmm/qemu/state/interrupt_fields.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/qemu/state/pci_fields.h"
#include "vmm/qemu/state/port_fields.h"
#include "vmm/qemu/state/vcpu_fields.h"
#include "vmm/qemu/state/virtio_fields.h"

#include <algorithm>

namespace drover::qemu {

namespace {

/// Asks a vCPU under TCG to look at its interrupt controller before it goes on (QEMU's
/// CPU_INTERRUPT_POLL). To claim an interrupt that the controller does not have would be a fault.
constexpr uint64_t poll_interrupts = 0x10;
constexpr uint64_t pending_nmi = 0x200; ///< CPU_INTERRUPT_NMI
constexpr uint32_t first_kvm_msr = 0x4b564d00;
constexpr uint32_t last_kvm_msr = 0x4b564dff;

/// Devices of QEMU's that a guest does not miss: not all hypervisors have them.
constexpr std::string_view dispensable[] = {"acpi_build",  "vmmouse", "globalstate",
                                            "kvm-tpr-opt", "pcspk",   "fw_cfg"};

bool is_dispensable(std::string_view name)
{
    return std::ranges::find(dispensable, name) != std::end(dispensable);
}

/// Of a vCPU's section: KVM's counters run from the start on, TCG's do not even then.
bool has_a_counter_of_its_own(const state::Device& section)
{
    return section.name == "kvmclock" ||
           (section.name == "cpu" && FieldReader(section).get("env.tsc") != 0);
}

/// As if the vCPU had not taken the interrupt that was on its way into the guest: TCG takes one in
/// a single step.
state::Lapic with_interrupt_put_back(state::Lapic lapic, const state::Vcpu& vcpu)
{
    if (!vcpu.events.interrupt || vcpu.events.interrupt_is_soft)
        return lapic;
    const uint8_t vector = vcpu.events.interrupt_vector;
    const uint32_t bit = 1U << (vector % 32);
    if ((lapic.in_service[vector / 32] & bit) != 0) { // else it came from the 8259A
        lapic.in_service[vector / 32] &= ~bit;
        lapic.requested[vector / 32] |= bit;
    }
    return lapic;
}

class MachineWriter {
public:
    MachineWriter(const state::MachineState& machine, std::vector<state::Device> layout)
        : machine_(machine)
    {
        result_.sections = std::move(layout);
        is_kvm_ = std::ranges::any_of(result_.sections, has_a_counter_of_its_own);
    }

    Result<WrittenMachine> write()
    {
        if (const Status fits = check(); !fits)
            return std::unexpected(fits.error());
        if (machine_.clocks)
            times_.run_time = run_time_for(*machine_.clocks);
        for (state::Device& section : result_.sections)
            if (const Status done = write_section(section); !done)
                return std::unexpected(Error(done.error()).in(section.name));
        if (machine_.pci_routing)
            if (const Status done = write_routing(*machine_.pci_routing, result_.sections); !done)
                return std::unexpected(done.error());
        if (const Status done = look_for_devices_without_a_place(); !done)
            return std::unexpected(done.error());
        return std::move(result_);
    }

private:
    [[nodiscard]] state::Device* find(std::string_view name)
    {
        const auto found = std::ranges::find(result_.sections, name, &state::Device::name);
        return found != result_.sections.end() ? &*found : nullptr;
    }

    Status check()
    {
        const auto cpus = std::ranges::count(result_.sections, "cpu", &state::Device::name);
        if (static_cast<size_t>(cpus) != machine_.vcpus.size())
            return fail(ErrorKind::Incompatible,
                        "the guest has " + std::to_string(machine_.vcpus.size()) +
                            " vCPUs, and the machine that is to take it " + std::to_string(cpus),
                        "start it with the same -smp");
        if (find("kvmclock") != nullptr)
            return {};
        for (const state::Vcpu& vcpu : machine_.vcpus)
            for (const state::Msr& msr : vcpu.msrs)
                if (msr.index >= first_kvm_msr && msr.index <= last_kvm_msr && (msr.value & 1) != 0)
                    return fail(ErrorKind::Incompatible,
                                "the guest uses KVM's own clock or interrupts, and there is no KVM "
                                "there",
                                "start such guests with -cpu …,kvm=off");
        return {};
    }

    template <class Part>
    static Result<const Part*> numbered(const std::vector<Part>& list, uint32_t number)
    {
        const auto found = std::ranges::find(list, number, &Part::number);
        if (found == list.end())
            return fail(ErrorKind::Incompatible,
                        "the guest's state has none of number " + std::to_string(number));
        return &*found;
    }

    Status write_section(state::Device& section)
    {
        const std::string& name = section.name;
        if (name == "cpu" || name == "cpu_common" || name == "apic")
            return write_cpu_section(section);
        if (name == "timer")
            return write_time(section);
        if (name == "ioapic" && section.instance == 0 && machine_.ioapic)
            return write_ioapic(*machine_.ioapic, section);
        if (name == "i8259" && machine_.pic && section.instance < machine_.pic->chips.size())
            return write_pic_chip(machine_.pic->chips[section.instance], section);
        if (name == "i8254" && machine_.pit)
            return write_pit(*machine_.pit, times_.run_time, section, find("pcspk"));
        if (name == "mc146818rtc" && machine_.rtc)
            return write_rtc(*machine_.rtc, section);
        if (name == "globalstate")
            return write_run_state(section);
        if (name == "kvmclock" || name == "pcspk" ||
            (machine_.pci_routing && (name == "PCIHost" || name == "PCIBUS")))
            return {}; // written elsewhere
        return write_device(section);
    }

    Status write_cpu_section(state::Device& section)
    {
        const auto vcpu = numbered(machine_.vcpus, section.instance);
        if (!vcpu)
            return std::unexpected(vcpu.error());
        const bool sleeps = (*vcpu)->run_state != state::RunState::Running;
        if (section.name == "cpu")
            return write_vcpu_section(**vcpu, section);
        if (section.name == "cpu_common") {
            FieldWriter fields(section);
            fields.set("halted", sleeps ? 1 : 0);
            const state::PendingEvents& events = (*vcpu)->events;
            const bool nmi = !is_kvm_ && (events.nmi_injected || events.nmi_pending);
            fields.set("interrupt_request", poll_interrupts | (nmi ? pending_nmi : 0));
            return fields.status();
        }
        const auto lapic = numbered(machine_.lapics, section.instance);
        if (!lapic)
            return std::unexpected(lapic.error());
        const bool waits = sleeps && (*vcpu)->run_state != state::RunState::Halted;
        return write_lapic(is_kvm_ ? **lapic : with_interrupt_put_back(**lapic, **vcpu), waits,
                           times_, section);
    }

    /// Fields that only KVM keeps up to date must be as TCG has them: what stood there would be
    /// read at the guest's next move, long out of date. The counter is the clocks', the run state
    /// stands in sections of its own, and an interrupt on its way goes back to the controller.
    Status write_vcpu_section(const state::Vcpu& vcpu, state::Device& section) const
    {
        if (is_kvm_) {
            if (const Status done = write_frequency(section); !done)
                return done;
            return write_vcpu(vcpu, section);
        }
        state::Vcpu without = vcpu;
        without.tsc = 0;
        without.run_state = state::RunState::Running;
        without.events.exception = false; // its instruction raises it again
        without.events.has_error_code = false;
        without.events.interrupt = false;
        without.events.interrupt_is_soft = false;
        without.events.nmi_injected = without.events.nmi_pending = false;
        return write_vcpu(without, section);
    }

    /// So that a counter goes on as fast as the guest knows it, where the host can do that.
    Status write_frequency(state::Device& section) const
    {
        if (!machine_.clocks || machine_.clocks->tsc_khz == 0)
            return {};
        if (find_field(section, tsc_khz_field) == nullptr) {
            section.fields.push_back(
                {tsc_khz_subsection, std::string(subsection_type), {0, 0, 0, 1}});
            section.fields.push_back(
                {tsc_khz_field, "int64", std::vector<uint8_t>(sizeof(int64_t))});
        }
        FieldWriter fields(section);
        fields.number(tsc_khz_field, machine_.clocks->tsc_khz);
        return fields.status();
    }

    Status write_time(state::Device& section)
    {
        if (!machine_.clocks)
            return fail(ErrorKind::Incompatible, "the guest's state does not tell its time");
        return write_clocks(*machine_.clocks, machine_.vcpus.front().tsc, section,
                            find("kvmclock"));
    }

    /// That it ran: whether it runs there is for whoever loads it (-S).
    static Status write_run_state(state::Device& section)
    {
        static constexpr std::string_view running("running", sizeof "running"); // and its end
        const state::DeviceField* found = find_field(section, "runstate");
        if (found == nullptr || found->value.size() < running.size())
            return fail(ErrorKind::Incompatible, "it has no run state here");
        auto& text = section.fields[static_cast<size_t>(found - section.fields.data())].value;
        std::ranges::fill(text, uint8_t{0});
        std::ranges::copy(running, text.begin());
        FieldWriter fields(section);
        fields.set("size", running.size());
        return fields.status();
    }

    Status write_device(state::Device& section)
    {
        const auto virtio = std::ranges::find(machine_.virtio, section.name, virtio_section);
        if (virtio != machine_.virtio.end())
            return write_virtio(*virtio, section);
        const auto serial =
            std::ranges::find(machine_.serials, section.instance, &state::Serial::number);
        if (section.name == serial_name && serial != machine_.serials.end())
            return write_serial(*serial, section);
        if (section.name == fw_cfg_name && machine_.fw_cfg)
            return write_fw_cfg(*machine_.fw_cfg, section);
        const auto source =
            std::ranges::find_if(machine_.devices, [&section](const state::Device& device) {
                return device.name == section.name && device.instance == section.instance;
            });
        if (source != machine_.devices.end()) {
            if (const Status done = copy_device(*source, section, result_.changes); !done)
                return done;
            return section.name == piix4_pm_name && machine_.acpi_pm
                       ? write_acpi_pm(*machine_.acpi_pm, section)
                       : Status();
        }
        if (!is_dispensable(section.name))
            return fail(ErrorKind::Incompatible, "the guest has no such device",
                        "start the destination with the devices that the guest has");
        result_.changes.push_back(section.name + ": as after a reset");
        return {};
    }

    Status look_for_devices_without_a_place()
    {
        for (const state::Device& device : machine_.devices)
            if (const Status found = look_for_place(device.name, device.instance); !found)
                return found;
        for (const state::Serial& serial : machine_.serials)
            if (const Status found = look_for_place(serial_name, serial.number); !found)
                return found;
        for (const state::Virtio& device : machine_.virtio)
            if (const Status found = look_for_place(virtio_section(device), 0); !found)
                return found;
        return {};
    }

    [[nodiscard]] Status look_for_place(std::string_view name, uint32_t instance) const
    {
        const bool there =
            std::ranges::any_of(result_.sections, [name, instance](const state::Device& section) {
                return section.name == name && section.instance == instance;
            });
        if (there || is_dispensable(name))
            return {};
        return fail(ErrorKind::Incompatible,
                    "the guest's " + std::string(name) + " has no place there",
                    "start the destination with the devices that the guest has");
    }

    const state::MachineState& machine_;
    bool is_kvm_ = false; ///< the QEMU that is to load it
    SavedTimes times_;
    WrittenMachine result_;
};

} // namespace

Result<WrittenMachine> write_machine(const state::MachineState& machine,
                                     std::vector<state::Device> layout)
{
    return MachineWriter(machine, std::move(layout)).write();
}

} // namespace drover::qemu
