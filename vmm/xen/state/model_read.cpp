// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/pci_fields.h"
#include "vmm/qemu/state/port_fields.h"
#include "vmm/qemu/state/virtio_fields.h"
#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/model_devices.h"
#include "vmm/xen/state/model_layout.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr size_t cmos_bytes = 128;
constexpr size_t rtc_registers = 14;
constexpr size_t clock_place = 16; ///< of cpu_clock_offset in the section "timer"

struct IdleSection {
    std::string_view name;
    const char* reason;
};

/// Those whose device is the hypervisor's: what QEMU has of them is as after a reset.
constexpr IdleSection idle_sections[] = {
    {"cpu", "the hypervisor has the CPUs"},
    {"cpu_common", "the hypervisor has the CPUs"},
    {"apic", "the hypervisor has the interrupt controllers"},
    {"ioapic", "the hypervisor has the interrupt controllers"},
    {"hpet", "the hypervisor has the HPET, and it does not count"},
};

uint64_t big_endian_at(std::span<const std::byte> bytes, size_t at, size_t size)
{
    uint64_t value = 0;
    for (const std::byte byte : bytes.subspan(at, size))
        value = value << 8 | std::to_integer<uint64_t>(byte);
    return value;
}

class ModelReader {
public:
    ModelReader(std::span<const ModelSection> sections, state::MachineState& machine,
                std::vector<std::string>& told)
        : sections_(sections), machine_(machine), told_(told)
    {
    }

    Status read()
    {
        for (const ModelSection& section : sections_)
            if (const Status done = read_section(section); !done)
                return done;
        if (!machine_.acpi_pm || !machine_.clocks)
            return fail(ErrorKind::Incompatible,
                        "the device model has no clock or no piix4_pm: it is no pc machine");
        return {};
    }

private:
    Status read_section(const ModelSection& section)
    {
        const auto idle = std::ranges::find(idle_sections, section.name, &IdleSection::name);
        if (idle != std::end(idle_sections)) {
            told_.push_back("device model's " + section.name + ": " + idle->reason);
            return {};
        }
        if (section.name == "timer")
            return read_clock(section);
        if (section.name == "PCIHost")
            return read_address(section);
        if (section.name == "PCIBUS") {
            told_.emplace_back("device model's PCIBUS: follows from the devices' lines");
            return {};
        }
        if (section.name == "mc146818rtc")
            return read_cmos(section);
        if (section.name == qemu::fw_cfg_name)
            return read_firmware_files(section);
        if (section.name == qemu::serial_name)
            return read_serial(section);
        if (section.name == qemu::piix4_pm_name)
            return read_power_management(section);
        return section.instance == 0 ? read_virtio(section) : add_opaque(section);
    }

    Status read_firmware_files(const ModelSection& section)
    {
        const auto device = name_fields(section, fw_cfg_layout());
        if (!device)
            return std::unexpected(device.error());
        machine_.fw_cfg = qemu::read_fw_cfg(*device);
        return {};
    }

    Status read_serial(const ModelSection& section)
    {
        const auto serial = qemu::read_serial(section.instance, section.version, section.bytes);
        if (!serial)
            return add_opaque(section);
        machine_.serials.push_back(*serial);
        return {};
    }

    Status read_virtio(const ModelSection& section)
    {
        auto virtio = qemu::read_virtio(section.name, section.version, section.bytes);
        if (!virtio)
            return add_opaque(section);
        machine_.virtio.push_back(std::move(*virtio));
        return {};
    }

    Status add_opaque(const ModelSection& section)
    {
        machine_.devices.push_back(
            qemu::opaque_device(section.name, section.instance, section.version, section.bytes));
        return {};
    }

    static Status expect_size(const ModelSection& section, size_t size)
    {
        if (section.bytes.size() != size)
            return fail(ErrorKind::Incompatible,
                        section.name + " of the device model has not its form in QEMU 7.2");
        return {};
    }

    Status read_clock(const ModelSection& section)
    {
        static constexpr size_t size = 24;
        if (const Status good = expect_size(section, size); !good)
            return good;
        const auto run_time =
            static_cast<int64_t>(big_endian_at(section.bytes, clock_place, sizeof(uint64_t)));
        if (run_time < 0)
            return fail(ErrorKind::Protocol, "the device model's clock is before its beginning");
        machine_.clocks = state::Clocks{.run_time = run_time};
        told_.emplace_back(
            "device model's timer cpu_ticks_offset: of a TSC that QEMU would emulate");
        return {};
    }

    Status read_address(const ModelSection& section)
    {
        if (const Status good = expect_size(section, sizeof(uint32_t)); !good)
            return good;
        machine_.pci_routing->address =
            static_cast<uint32_t>(big_endian_at(section.bytes, 0, sizeof(uint32_t)));
        return {};
    }

    Status read_cmos(const ModelSection& section)
    {
        if (section.bytes.size() < cmos_bytes)
            return expect_size(section, cmos_bytes);
        const auto* begin = reinterpret_cast<const uint8_t*>(section.bytes.data());
        machine_.rtc->memory.assign(begin + rtc_registers, begin + cmos_bytes);
        told_.emplace_back(
            "device model's mc146818rtc but its memory: the hypervisor has the clock");
        return {};
    }

    Status add_named(const ModelSection& section, std::span<const ModelField> layout)
    {
        auto device = name_fields(section, layout);
        if (!device)
            return std::unexpected(std::move(device.error()));
        machine_.devices.push_back(std::move(*device));
        return {};
    }

    Status read_power_management(const ModelSection& section)
    {
        if (const Status added = add_named(section, piix4_pm_layout()); !added)
            return added;
        auto pm = qemu::read_acpi_pm(machine_.devices.back());
        if (!pm)
            return std::unexpected(std::move(pm.error()));
        machine_.acpi_pm = *pm;
        return {};
    }

    std::span<const ModelSection> sections_;
    state::MachineState& machine_;
    std::vector<std::string>& told_;
};

} // namespace

Status read_model(std::span<const ModelSection> sections, state::MachineState& machine,
                  std::vector<std::string>& told)
{
    return ModelReader(sections, machine, told).read();
}

} // namespace drover::xen
