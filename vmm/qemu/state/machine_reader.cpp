// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"
#include "vmm/qemu/state/clock_fields.h"
#include "vmm/qemu/state/device_bytes.h"
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

constexpr uint16_t xen_pm_port = 0xb000; // hvmloader's choice; SeaBIOS' is 0x600
/// Of the option ROM that makes 32-bit Windows' accesses to the task priority cheap.
constexpr uint64_t vapic_active = 1; // 2: it waits for a guest that it is for

class MachineReader {
public:
    explicit MachineReader(std::span<const state::Device> sections)
        : sections_(sections), has_piix_(find(piix3_name) != nullptr)
    {
    }

    Result<ReadMachine> read()
    {
        // Clocks first: other sections' times are relative to them.
        for (const auto step : {&MachineReader::read_time, &MachineReader::read_power_management,
                                &MachineReader::read_vcpus, &MachineReader::read_others})
            if (const Status done = (this->*step)(); !done)
                return std::unexpected(done.error());
        if (result_.machine.vcpus.empty())
            return fail(ErrorKind::Incompatible, "the stream holds no vCPU of an x86 machine");
        std::ranges::sort(result_.machine.vcpus, {}, &state::Vcpu::number);
        std::ranges::sort(result_.machine.lapics, {}, &state::Lapic::number);
        return std::move(result_);
    }

private:
    [[nodiscard]] const state::Device* find(std::string_view name, uint32_t instance = 0) const
    {
        for (const state::Device& section : sections_)
            if (section.name == name && section.instance == instance)
                return &section;
        return nullptr;
    }

    /// Puts what was read where it belongs.
    template <class Part, class Target> static Status keep(Result<Part> part, Target& target)
    {
        if (!part)
            return std::unexpected(std::move(part.error()));
        if constexpr (requires { target.push_back(std::move(*part)); })
            target.push_back(std::move(*part));
        else
            target = std::move(*part);
        return {};
    }

    Status read_time()
    {
        const state::Device* timer = find("timer");
        if (timer == nullptr)
            return fail(ErrorKind::Incompatible, "the stream holds no clock of QEMU's");
        auto clocks = read_clocks(*timer, find("kvmclock"), told_);
        const auto ticks = ticks_of(*timer);
        if (!clocks || !ticks)
            return std::unexpected(clocks ? ticks.error() : clocks.error());
        times_.run_time = clocks->run_time;
        ticks_ = *ticks;
        result_.machine.clocks = *clocks;
        return {};
    }

    Status read_power_management()
    {
        const state::Device* piix4 = find(piix4_pm_name);
        if (piix4 == nullptr)
            return {};
        if (const Status done = keep(read_acpi_pm(*piix4), result_.machine.acpi_pm); !done)
            return done;
        if (result_.machine.acpi_pm->port == xen_pm_port)
            times_.born_hz = state::xen_lapic_hz;
        return {};
    }

    Status read_vcpus()
    {
        for (const state::Device& section : sections_) {
            if (section.name != "cpu")
                continue;
            auto vcpu = read_vcpu(section, told_);
            if (!vcpu)
                return std::unexpected(vcpu.error());
            if (vcpu->tsc == 0)
                vcpu->tsc = ticks_; // TCG's
            refine_run_state(*vcpu);
            if (find_field(section, tsc_khz_field) != nullptr)
                result_.machine.clocks->tsc_khz =
                    static_cast<uint32_t>(FieldReader(section).get(tsc_khz_field));
            result_.machine.vcpus.push_back(std::move(*vcpu));
        }
        return {};
    }

    /// Under TCG nothing but these sections knows that a vCPU sleeps.
    void refine_run_state(state::Vcpu& vcpu) const
    {
        const state::Device* common = find("cpu_common", vcpu.number);
        if (vcpu.run_state != state::RunState::Running || common == nullptr ||
            FieldReader(*common).get("halted") == 0)
            return;
        constexpr const char* waits = "[apic_sipi]/wait_for_sipi";
        const state::Device* apic = find("apic", vcpu.number);
        const bool waits_for_sipi = apic != nullptr && find_field(*apic, waits) != nullptr &&
                                    FieldReader(*apic).get(waits) != 0;
        vcpu.run_state = waits_for_sipi ? state::RunState::WaitsForSipi : state::RunState::Halted;
    }

    Status read_others()
    {
        if (has_piix_)
            if (const Status done = keep(read_routing(sections_), result_.machine.pci_routing);
                !done)
                return done;
        for (const state::Device& section : sections_)
            if (const Status done = read_section(section); !done)
                return std::unexpected(Error(done.error()).in(section.name));
        return {};
    }

    Status read_section(const state::Device& section)
    {
        state::MachineState& machine = result_.machine;
        const std::string& name = section.name;
        if (name == "timer" || name == "kvmclock" || name == "cpu" || name == "cpu_common" ||
            name == "pcspk" || (has_piix_ && (name == "PCIHost" || name == "PCIBUS")))
            return {}; // read elsewhere
        if (name == "apic")
            return keep(read_lapic(section, times_, told_), machine.lapics);
        if (name == "ioapic" && section.instance == 0)
            return keep(read_ioapic(section, told_), machine.ioapic);
        if (name == "i8259")
            return read_pic(section);
        if (name == "i8254")
            return keep(read_pit(section, find("pcspk"), times_.run_time, told_), machine.pit);
        if (name == "mc146818rtc")
            return keep(read_rtc(section, told_), machine.rtc);
        if (name == "globalstate") {
            told_.emplace_back("globalstate: whether the guest runs is the migration's");
            return {};
        }
        if (name == "kvm-tpr-opt" && FieldReader(section).get("state") != vapic_active) {
            told_.emplace_back("kvm-tpr-opt: it does nothing in this guest");
            return {};
        }
        read_device(section);
        return {};
    }

    /// As a part of its own where all of it is understood.
    void read_device(const state::Device& section)
    {
        state::MachineState& machine = result_.machine;
        if (section.name == serial_name) {
            if (const auto serial =
                    read_serial(section.instance, section.model_version, device_bytes(section)))
                return machine.serials.push_back(*serial);
        } else if (section.name == fw_cfg_name) {
            if (machine.fw_cfg = read_fw_cfg(section); machine.fw_cfg)
                return;
        } else if (auto virtio = read_virtio(section)) {
            return machine.virtio.push_back(std::move(*virtio));
        }
        machine.devices.push_back(section);
    }

    Status read_pic(const state::Device& section)
    {
        auto chip = read_pic_chip(section, told_);
        if (!chip)
            return std::unexpected(chip.error());
        if (!result_.machine.pic)
            result_.machine.pic.emplace();
        if (section.instance >= result_.machine.pic->chips.size())
            return fail(ErrorKind::Protocol, "a third one");
        result_.machine.pic->chips[section.instance] = *chip;
        return {};
    }

    std::span<const state::Device> sections_;
    bool has_piix_;
    SavedTimes times_;
    uint64_t ticks_ = 0;
    ReadMachine result_;
    std::vector<std::string>& told_ = result_.not_carried;
};

} // namespace

Status check_known(std::span<const std::string> not_carried)
{
    for (const std::string& line : not_carried)
        if (line.ends_with("not known here"))
            return fail(ErrorKind::Incompatible, "the guest has a state that is " + line,
                        "this version of drover does not know whether the guest can do without");
    return {};
}

Result<std::vector<state::Device>> devices_of(const QemuState& state, const ByteSource& source)
{
    std::vector<state::Device> devices;
    for (const SavedSection& section : state.sections) {
        auto device = device_of(section, source);
        if (!device)
            return std::unexpected(device.error());
        devices.push_back(std::move(*device));
    }
    return devices;
}

Result<ReadMachine> read_machine(std::span<const state::Device> sections)
{
    auto result = MachineReader(sections).read();
    if (result) { // two vCPUs have the same to tell
        auto& told = result->not_carried;
        std::ranges::sort(told);
        const auto repeated = std::ranges::unique(told);
        told.erase(repeated.begin(), repeated.end());
    }
    return result;
}

} // namespace drover::qemu
