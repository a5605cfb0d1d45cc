// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/acpi_hole.h"

#include "vmm/qemu/state/device_bytes.h"

#include <algorithm>

namespace drover::qemu {

namespace {

// PCI 3.0 6.1: registers of a function's configuration.
constexpr size_t command_register = 0x04;
constexpr size_t registers_window = 0x10; // BAR 0: the device's own registers
constexpr size_t memory_window = 0x18;    // BAR 2, 64 bits wide
constexpr size_t configuration_size = 256;
constexpr uint8_t memory_enabled = 0x02;

void put_le32(std::vector<uint8_t>& bytes, size_t at, uint32_t value)
{
    for (size_t i = 0; i < sizeof value; ++i)
        bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
}

} // namespace

bool is_acpi_hole(std::string_view block)
{
    return block == acpi_hole_block || block.ends_with("/" + std::string(acpi_hole_block));
}

Result<std::optional<state::Device>> take_acpi_hole(std::vector<state::Device>& layout)
{
    const auto found = std::ranges::find_if(
        layout, [](const auto& device) { return device.name.ends_with("/ivshmem-plain"); });
    if (found == layout.end())
        return std::nullopt;
    state::Device device = std::move(*found);
    layout.erase(found);
    const auto configuration =
        std::ranges::find_if(device.fields, [](const state::DeviceField& field) {
            return field.type == "pci config" && field.value.size() == configuration_size;
        });
    if (configuration == device.fields.end())
        return fail(ErrorKind::Incompatible, "ivshmem-plain has no configuration here");
    constexpr uint32_t somewhere = 0xfebf1000; // nobody uses its registers
    constexpr uint32_t prefetchable_64_bits = 0x0c;
    configuration->value[command_register] = memory_enabled;
    put_le32(configuration->value, registers_window, somewhere);
    put_le32(configuration->value, memory_window,
             static_cast<uint32_t>(acpi_hole_frame << 12) | prefetchable_64_bits);
    put_le32(configuration->value, memory_window + sizeof(uint32_t), 0);
    return device;
}

} // namespace drover::qemu
