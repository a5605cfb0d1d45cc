// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/pci_fields.h"
#include "vmm/qemu/state/port_fields.h"
#include "vmm/qemu/state/section_bytes.h"
#include "vmm/qemu/state/virtio_fields.h"
#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/hvm_wires.h"
#include "vmm/xen/state/model_devices.h"
#include "vmm/xen/state/model_layout.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr uint32_t timer_version = 2;
constexpr uint32_t pci_host_version = 1;
constexpr uint32_t pci_bus_version = 1;
constexpr uint32_t model_rtc_version = 3;
constexpr uint32_t bus_wires = 128; ///< Xen's device model has one for each pin of each device
constexpr uint64_t hpet_on = 1;     ///< in its first field
constexpr size_t cmos_memory = 114; ///< bytes, behind the 14 registers

struct UnwantedDevice {
    std::string_view name;
    const char* change; ///< null: the guest does not notice
};

/// What stock QEMU has and Xen's device model has not.
constexpr UnwantedDevice unwanted[] = {
    {"acpi_build", nullptr}, // its tables are in the guest's memory
    {"globalstate", nullptr},
    {"pcspk", nullptr}, // in the part pit
    {"hpet", nullptr},  // off: judge_devices
    {"vmmouse", "a guest with a driver for VMware's mouse has none"},
};

const UnwantedDevice* find_unwanted(std::string_view name)
{
    const auto found = std::ranges::find(unwanted, name, &UnwantedDevice::name);
    return found != std::end(unwanted) ? found : nullptr;
}

class ModelWriter {
public:
    ModelWriter(const state::MachineState& machine, XenFit& fit) : machine_(machine), fit_(fit) {}

    Result<std::vector<ModelSection>> write()
    {
        add("timer", timer_version, timer_bytes());
        add("PCIHost", pci_host_version, address_bytes());
        add("PCIBUS", pci_bus_version, bus_bytes());
        add("mc146818rtc", model_rtc_version, rtc_bytes());
        for (const state::Device& device : machine_.devices)
            if (const Status done = write_device(device); !done)
                return std::unexpected(done.error());
        for (const state::Serial& serial : machine_.serials)
            add(std::string(qemu::serial_name), qemu::serial_section_version,
                qemu::serial_bytes(serial), serial.number);
        if (machine_.fw_cfg)
            add(std::string(qemu::fw_cfg_name), qemu::fw_cfg_section_version, fw_cfg_bytes());
        for (const state::Virtio& device : machine_.virtio)
            if (const Status done = write_virtio(device); !done)
                return std::unexpected(done.error());
        return check_names();
    }

private:
    /// A name's length is one byte there: the rest of a longer one, which a hostile peer may send,
    /// would be read as sections of its own.
    Result<std::vector<ModelSection>> check_names()
    {
        constexpr size_t longest_name = 255;
        for (const ModelSection& section : sections_)
            if (section.name.size() > longest_name)
                return fail(ErrorKind::Protocol, "a device with a name of " +
                                                     std::to_string(section.name.size()) +
                                                     " bytes is no device that there can be");
        return std::move(sections_);
    }

    void add(const std::string& name, uint32_t version, std::vector<std::byte> bytes,
             uint32_t instance = 0)
    {
        sections_.push_back({.id = static_cast<uint32_t>(sections_.size()),
                             .name = name,
                             .instance = instance,
                             .version = version,
                             .bytes = std::move(bytes)});
    }

    /// QEMU's ticks, and its clock, by which devices count.
    [[nodiscard]] std::vector<std::byte> timer_bytes() const
    {
        qemu::SectionWriter bytes;
        bytes.number(machine_.vcpus.empty() ? uint64_t{0} : machine_.vcpus.front().tsc);
        bytes.zeros(sizeof(uint64_t));
        bytes.number(machine_.clocks->run_time);
        return bytes.take();
    }

    [[nodiscard]] std::vector<std::byte> address_bytes() const
    {
        qemu::SectionWriter bytes;
        bytes.number(machine_.pci_routing->address);
        return bytes.take();
    }

    /// How many functions assert each wire.
    [[nodiscard]] std::vector<std::byte> bus_bytes() const
    {
        std::array<uint32_t, bus_wires> counts = {};
        for (const state::PciLines& lines : machine_.pci_routing->lines)
            for (unsigned pin = 0; pin < pci_pins; ++pin)
                counts[((lines.devfn >> 3) * pci_pins + pin) % bus_wires] +=
                    lines.asserted >> pin & 1;
        qemu::SectionWriter bytes;
        bytes.number(bus_wires);
        for (const uint32_t count : counts)
            bytes.number(count);
        return bytes.take();
    }

    /// Of QEMU's clock only the memory is used: it must not tick, nor interrupt.
    [[nodiscard]] std::vector<std::byte> rtc_bytes() const
    {
        static constexpr uint8_t idle_registers[] = {0, 0, 0, 0,    0,    0,    1,
                                                     1, 1, 0, 0x26, 0x02, 0x00, 0x80};
        static constexpr size_t unused_after_index = 28;
        static constexpr size_t times = 5 * sizeof(uint64_t); // all at their beginning
        static constexpr uint64_t never = UINT64_MAX;         // of a timer
        qemu::SectionWriter bytes;
        for (const uint8_t value : idle_registers)
            bytes.number(value);
        bytes.bytes(machine_.rtc->memory, cmos_memory);
        bytes.number(machine_.rtc->index);
        bytes.zeros(unused_after_index);
        bytes.number(never); // the periodic one
        bytes.zeros(times + 2 * sizeof(uint32_t) + 2 * sizeof(uint64_t));
        bytes.number(never); // that of its update
        bytes.zeros(sizeof(uint64_t));
        return bytes.take();
    }

    /// The sizes of its tables' files are of no matter: they are in the guest's memory.
    [[nodiscard]] std::vector<std::byte> fw_cfg_bytes() const
    {
        qemu::SectionWriter bytes;
        bytes.number(machine_.fw_cfg->selected);
        bytes.number(machine_.fw_cfg->offset);
        return bytes.take();
    }

    Status write_device(const state::Device& device)
    {
        if (find_unwanted(device.name) != nullptr)
            return {};
        if (device.name == qemu::piix4_pm_name)
            return lay_out_device(with_power_management(device), piix4_pm_layout());
        add(device.name, device.model_version, qemu::device_bytes(device), device.instance);
        return {};
    }

    Status write_virtio(const state::Virtio& device)
    {
        auto bytes = qemu::virtio_bytes(device);
        if (!bytes)
            return std::unexpected(std::move(bytes.error()));
        add(qemu::virtio_section(device), qemu::virtio_section_version(device.device),
            std::move(*bytes));
        return {};
    }

    /// The registers of a guest that was born on Xen are partly the hypervisor's: QEMU's own must
    /// not raise an interrupt then.
    [[nodiscard]] state::Device with_power_management(const state::Device& device) const
    {
        state::Device changed = device;
        const auto set = [&changed](std::string_view name, uint16_t value) {
            for (state::DeviceField& field : changed.fields)
                if (field.name == name && field.value.size() == sizeof value)
                    field.value = {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
        };
        const state::AcpiPm& pm = *machine_.acpi_pm;
        set("ar.pm1.cnt.cnt", pm.control);
        set("ar.gpe/sts", pm.gpe_status);
        set("ar.gpe/en", pm.gpe_enable);
        set("ar.pm1.evt.en", is_born_on_xen(machine_) ? uint16_t{0} : pm.enable);
        if (!is_born_on_xen(machine_))
            set("ar.pm1.evt.sts", pm.status);
        return changed;
    }

    Status lay_out_device(const state::Device& device, std::span<const ModelField> layout)
    {
        auto bytes = lay_out(device, layout, fit_);
        if (!bytes)
            return std::unexpected(std::move(bytes.error()));
        add(device.name, device.model_version, std::move(*bytes), device.instance);
        return {};
    }

    const state::MachineState& machine_;
    XenFit& fit_;
    std::vector<ModelSection> sections_;
};

bool hpet_counts_in(const state::Device& hpet)
{
    const auto bytes = qemu::device_bytes(hpet);
    return bytes.size() >= sizeof(uint64_t) &&
           (std::to_integer<uint64_t>(bytes[sizeof(uint64_t) - 1]) & hpet_on) != 0;
}

} // namespace

Result<std::vector<ModelSection>> write_model(const state::MachineState& machine, XenFit& fit)
{
    return ModelWriter(machine, fit).write();
}

void judge_devices(const state::MachineState& machine, XenFit& fit)
{
    const auto has = [&machine](std::string_view name) {
        return std::ranges::find(machine.devices, name, &state::Device::name) !=
               machine.devices.end();
    };
    if (!has(qemu::piix3_name) || !has(qemu::piix4_pm_name))
        fit.refuse("it is not QEMU's machine pc, which Xen's device model is");
    if (!machine.acpi_pm || !machine.clocks)
        fit.refuse("its state does not tell its power management or its clock");
    for (const state::Device& device : machine.devices) {
        if (device.name == "hpet" && hpet_counts_in(device))
            fit.refuse("it uses its HPET, whose clock has another speed on Xen (-M pc,hpet=off)");
        if (device.name == "kvm-tpr-opt")
            fit.refuse("it uses KVM's way for 32-bit guests to set their task priority");
        if (const UnwantedDevice* known = find_unwanted(device.name); known && known->change)
            fit.change(known->change);
    }
    // Its driver would take the pages out one day, or put them in, and the device model end of it.
    for (const state::Virtio& device : machine.virtio)
        for (const state::VirtioBalloon& balloon : device.balloon)
            if (balloon.given > 0 || balloon.wanted > 0)
                fit.refuse(qemu::virtio_section(device) +
                           " has memory of the guest's, or is to have some: give the guest all of "
                           "it first (balloon)");
    if (machine.rtc && machine.rtc->memory.size() > cmos_memory)
        fit.change("of its RTC's memory Xen has 114 bytes");
}

} // namespace drover::xen
