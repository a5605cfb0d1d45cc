// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/model_layout.h"

#include "vmm/qemu/state/device_bytes.h"

#include <algorithm>

namespace drover::xen {

namespace {

using qemu::subsection_type;
constexpr std::byte model_subsection_mark{5};
constexpr uint32_t version_bytes = 4; ///< of a subsection

constexpr ModelField fw_cfg[] = {
    {"cur_entry", "uint16", 2},
    {"cur_offset[1]", "uint32", 4},
};

constexpr ModelField piix4_pm[] = {
    {"parent_obj/version_id", "int32 le", 4},
    {"parent_obj/config[0]", "pci config", 256},
    {"parent_obj/irq_state", "pci irq state", 16},
    {"ar.pm1.evt.sts", "uint16", 2},
    {"ar.pm1.evt.en", "uint16", 2},
    {"ar.pm1.cnt.cnt", "uint16", 2},
    {"apm/apmc", "uint8", 1},
    {"apm/apms", "uint8", 1},
    {"smb/smb_stat", "uint8", 1},
    {"smb/smb_ctl", "uint8", 1},
    {"smb/smb_cmd", "uint8", 1},
    {"smb/smb_addr", "uint8", 1},
    {"smb/smb_data0", "uint8", 1},
    {"smb/smb_data1", "uint8", 1},
    {"smb/smb_index", "uint32", 4},
    {"smb/smb_data", "uint8", 32, 32},
    {"smb/smb_auxctl", "uint8", 1},
    {"smb/smb_blkdata", "uint8", 1},
    {"smb/i2c_enable", "bool", 1},
    {"smb/op_done", "bool", 1},
    {"smb/in_i2c_block_read", "bool", 1},
    {"smb/start_transaction_on_status_read", "bool", 1},
    {"ar.tmr.timer", "timer", 8},
    {"ar.tmr.overflow_time", "int64", 8},
    {"ar.gpe/sts", "uint16", 2},
    {"ar.gpe/en", "uint16", 2},
    {"acpi_pci_hotplug.acpi_pcihp_pci_status[0x0]/up", "uint32", 4, 1, false},
    {"acpi_pci_hotplug.acpi_pcihp_pci_status[0x0]/down", "uint32", 4, 1, false},
    {"[piix4_pm/memhp]", subsection_type, version_bytes, 1, false},
    {"[piix4_pm/memhp]/acpi_memory_hotplug/selector", "uint32", 4, 1, false},
};

std::string_view bare_name(const ModelField& field)
{
    return field.name.substr(1, field.name.size() - 2); // without its brackets
}

/// Mark, length and name of a subsection, if they are there.
bool take_subsection(std::span<const std::byte>& rest, std::string_view name)
{
    const size_t size = 2 + name.size();
    if (rest.size() < size || rest[0] != model_subsection_mark ||
        std::to_integer<size_t>(rest[1]) != name.size() ||
        !std::ranges::equal(rest.subspan(2, name.size()), std::as_bytes(std::span(name))))
        return false;
    rest = rest.subspan(size);
    return true;
}

void put_subsection(std::vector<std::byte>& out, std::string_view name)
{
    out.push_back(model_subsection_mark);
    out.push_back(static_cast<std::byte>(name.size()));
    std::ranges::copy(std::as_bytes(std::span(name)), std::back_inserter(out));
}

bool is_known(std::span<const ModelField> layout, const std::string& name)
{
    return std::ranges::any_of(layout, [&name](const auto& field) { return name == field.name; });
}

/// Which no guest misses: its firmware, or a hot-plug of CPUs, selected something long ago.
constexpr std::string_view dispensable_fields[] = {"[piix4_pm/cpuhp]/cpuhp_state/selector",
                                                   "acpi_pci_hotplug.hotplug_select"};

bool is_dispensable_field(const std::string& name)
{
    return std::ranges::any_of(dispensable_fields,
                               [&name](auto prefix) { return name.starts_with(prefix); });
}

bool holds_something(const state::DeviceField& field)
{
    return field.type != subsection_type &&
           std::ranges::any_of(field.value, [](uint8_t byte) { return byte != 0; });
}

} // namespace

std::span<const ModelField> fw_cfg_layout()
{
    return fw_cfg;
}

std::span<const ModelField> piix4_pm_layout()
{
    return piix4_pm;
}

Result<state::Device> name_fields(const ModelSection& section, std::span<const ModelField> layout)
{
    state::Device device{.name = section.name,
                         .instance = section.instance,
                         .model_version = section.version,
                         .fields = {}};
    std::span<const std::byte> rest = section.bytes;
    for (const ModelField& field : layout) {
        const bool part = field.type == subsection_type;
        if (part && rest.empty())
            break;
        if ((part && !take_subsection(rest, bare_name(field))) || rest.size() < field.size)
            return fail(ErrorKind::Incompatible,
                        section.name + " of the device model has not its form in QEMU 7.2");
        const auto* begin = reinterpret_cast<const uint8_t*>(rest.data());
        device.fields.push_back({.name = std::string(field.name),
                                 .type = std::string(field.type),
                                 .value = {begin, begin + field.size},
                                 .count = field.count});
        rest = rest.subspan(field.size);
    }
    if (!rest.empty())
        return fail(ErrorKind::Incompatible,
                    section.name + " of the device model has more than in QEMU 7.2");
    return device;
}

Result<std::vector<std::byte>> lay_out(const state::Device& device,
                                       std::span<const ModelField> layout, XenFit& fit)
{
    std::vector<std::byte> out;
    for (const ModelField& field : layout) {
        const state::DeviceField* found = qemu::find_field(device, field.name);
        if (found == nullptr && field.name.starts_with('['))
            continue; // a subsection that the guest's device does not have, or its contents
        if ((found == nullptr && field.needed) ||
            (found != nullptr && found->value.size() != field.size))
            return fail(ErrorKind::Incompatible, device.name + " has no " +
                                                     std::string(field.name) +
                                                     " as Xen's device model has it");
        if (field.type == subsection_type)
            put_subsection(out, bare_name(field));
        const auto value = found != nullptr ? found->value : std::vector<uint8_t>(field.size);
        std::ranges::copy(std::as_bytes(std::span(value)), std::back_inserter(out));
    }
    for (const state::DeviceField& field : device.fields)
        if (!is_known(layout, field.name) && holds_something(field) &&
            !is_dispensable_field(field.name))
            fit.change(device.name + " loses its " + field.name +
                       ", which Xen's device model does not have");
    return out;
}

} // namespace drover::xen
