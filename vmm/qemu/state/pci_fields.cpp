// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/pci_fields.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_fields.h"

#include <algorithm>
#include <cstdio>

namespace drover::qemu {

namespace {

constexpr size_t version_bytes = 4;
constexpr size_t configuration_bytes = 256;
constexpr size_t pins = 4;
constexpr size_t lines_bytes = pins * sizeof(uint32_t);
constexpr size_t route_register = 0x60;   // PIRQRC A … D: 82371AB 4.1.10
constexpr size_t pm_base_register = 0x40; // 82371AB 7.1.14
constexpr uint32_t pm_base_mask = 0xffc0;
constexpr uint8_t not_routed = 0x80;
constexpr uint8_t interrupt_mask = 0x0f;
constexpr unsigned line_count = 4;

template <class Devices> auto* find_device(Devices devices, std::string_view name)
{
    const auto found = std::ranges::find(devices, name, &state::Device::name);
    return found != devices.end() ? &*found : nullptr;
}

/// The interrupt router's line that a pin of a device is wired to: in QEMU's numbers they are
/// one less than in Xen's, which are the neutral ones.
unsigned neutral_line(uint8_t devfn, unsigned pin)
{
    return ((devfn >> 3) + pin) % line_count;
}

unsigned qemu_line(unsigned neutral)
{
    return (neutral + line_count - 1) % line_count;
}

uint8_t interrupt_of(uint8_t route)
{
    return (route & not_routed) != 0 ? 0 : route & interrupt_mask;
}

std::array<uint32_t, line_count> asserted_lines(const state::PciRouting& routing)
{
    std::array<uint32_t, line_count> counts = {};
    for (const state::PciLines& function : routing.lines)
        for (unsigned pin = 0; pin < pins; ++pin)
            if ((function.asserted >> pin & 1) != 0)
                ++counts[qemu_line(neutral_line(function.devfn, pin))];
    return counts;
}

} // namespace

std::optional<PciFunction> pci_function_of(const state::Device& device)
{
    unsigned slot = 0;
    unsigned function = 0;
    if (sscanf(device.name.c_str(), "0000:00:%2x.%1x/", &slot, &function) != 2)
        return std::nullopt;
    const auto bytes = device_bytes(device);
    if (bytes.size() < version_bytes + configuration_bytes + lines_bytes)
        return std::nullopt;
    PciFunction result = {.devfn = static_cast<uint8_t>(slot << 3 | function), .configuration = {}};
    const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data()) + version_bytes;
    result.configuration.assign(begin, begin + configuration_bytes);
    for (unsigned pin = 0; pin < pins; ++pin)
        if (begin[configuration_bytes + (pin + 1) * sizeof(uint32_t) - 1] != 0)
            result.asserted |= static_cast<uint8_t>(1U << pin);
    return result;
}

Result<state::PciRouting> read_routing(std::span<const state::Device> devices)
{
    state::PciRouting routing;
    if (const state::Device* host = find_device(devices, "PCIHost")) {
        FieldReader fields(*host);
        fields.number("config_reg", routing.address);
        if (!fields.status())
            return std::unexpected(fields.status().error());
    }
    for (const state::Device& device : devices) {
        const auto function = pci_function_of(device);
        if (!function)
            continue;
        if (function->asserted != 0)
            routing.lines.push_back({function->devfn, function->asserted});
        if (device.name != piix3_name)
            continue;
        for (unsigned line = 0; line < line_count; ++line) {
            routing.route[line] =
                interrupt_of(function->configuration[route_register + qemu_line(line)]);
        }
    }
    return routing;
}

Status write_routing(const state::PciRouting& routing, std::span<state::Device> devices)
{
    const auto counts = asserted_lines(routing);
    if (state::Device* host = find_device(devices, "PCIHost")) {
        FieldWriter fields(*host);
        fields.number("config_reg", routing.address);
        if (!fields.status())
            return fields.status();
    }
    if (state::Device* bus = find_device(devices, "PCIBUS")) {
        FieldWriter fields(*bus);
        fields.list("irq_count", counts);
        if (!fields.status())
            return fields.status();
    }
    state::Device* piix3 = find_device(devices, piix3_name);
    if (piix3 == nullptr)
        return {};
    FieldWriter fields(*piix3);
    std::array<uint32_t, line_count> levels = {};
    std::ranges::transform(counts, levels.begin(), [](uint32_t count) { return count != 0; });
    fields.list("pci_irq_levels_vmstate", levels);
    if (!fields.status())
        return fields.status();
    const state::DeviceField* found = find_field(*piix3, "dev/config[0]");
    if (found == nullptr || found->value.size() != configuration_bytes)
        return fail(ErrorKind::Incompatible, "PIIX3 has no configuration here");
    auto& configuration = piix3->fields[static_cast<size_t>(found - piix3->fields.data())].value;
    for (unsigned line = 0; line < line_count; ++line)
        if (uint8_t& route = configuration[route_register + qemu_line(line)];
            interrupt_of(route) != routing.route[line])
            route = routing.route[line] != 0 ? routing.route[line] : not_routed;
    return {};
}

Result<state::AcpiPm> read_acpi_pm(const state::Device& piix4_pm)
{
    state::AcpiPm pm;
    const auto function = pci_function_of(piix4_pm);
    if (!function)
        return fail(ErrorKind::Incompatible, "piix4_pm has no configuration");
    pm.port = static_cast<uint16_t>((function->configuration[pm_base_register] |
                                     function->configuration[pm_base_register + 1] << 8) &
                                    pm_base_mask);
    FieldReader fields(piix4_pm);
    fields.number("ar.pm1.evt.sts", pm.status);
    fields.number("ar.pm1.evt.en", pm.enable);
    fields.number("ar.pm1.cnt.cnt", pm.control);
    fields.number("ar.gpe/sts", pm.gpe_status);
    fields.number("ar.gpe/en", pm.gpe_enable);
    if (!fields.status())
        return std::unexpected(fields.status().error());
    return pm;
}

Status write_acpi_pm(const state::AcpiPm& pm, state::Device& piix4_pm)
{
    FieldWriter fields(piix4_pm);
    fields.number("ar.pm1.evt.sts", pm.status);
    fields.number("ar.pm1.evt.en", pm.enable);
    fields.number("ar.pm1.cnt.cnt", pm.control);
    fields.number("ar.gpe/sts", pm.gpe_status);
    fields.number("ar.gpe/en", pm.gpe_enable);
    return fields.status();
}

} // namespace drover::qemu
