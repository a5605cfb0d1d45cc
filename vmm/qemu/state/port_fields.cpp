// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/port_fields.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_copy.h"
#include "vmm/qemu/state/device_fields.h"
#include "vmm/qemu/state/section_bytes.h"

namespace drover::qemu {

namespace {

using state::PartOrConst;

template <class Io, PartOrConst<state::Serial> Self> void map_serial(Io& io, Self& serial)
{
    io.number(serial.divisor);
    io.number(serial.received);
    io.number(serial.interrupts);
    io.number(serial.interrupt_id);
    io.number(serial.line_control);
    io.number(serial.modem_control);
    io.number(serial.line_status);
    io.number(serial.modem_status);
    io.number(serial.scratch);
    io.number(serial.fifo_control);
}

/// What QEMU has behind the first two only where the guest's firmware has used it.
struct OptionalField {
    const char* name;
    uint64_t state::FwCfg::*member;
};
constexpr OptionalField optional_fields[] = {
    {"[fw_cfg/dma]/dma_addr", &state::FwCfg::dma_address},
    {"[fw_cfg/acpi_mr]/table_mr_size", &state::FwCfg::tables_size},
    {"[fw_cfg/acpi_mr]/linker_mr_size", &state::FwCfg::linker_size},
    {"[fw_cfg/acpi_mr]/rsdp_mr_size", &state::FwCfg::rsdp_size},
};

} // namespace

std::optional<state::Serial> read_serial(uint32_t instance, uint32_t version,
                                         std::span<const std::byte> contents)
{
    state::Serial serial = {.number = instance};
    SectionReader reader(contents);
    map_serial(reader, serial);
    if (!reader.good() || reader.left() != 0 || version != serial_section_version)
        return std::nullopt;
    return serial;
}

std::vector<std::byte> serial_bytes(const state::Serial& serial)
{
    SectionWriter writer;
    map_serial(writer, serial);
    return writer.take();
}

Status write_serial(const state::Serial& serial, state::Device& section)
{
    std::vector<std::string> told; // nothing: all of its fields are given
    return copy_device(opaque_device(std::string(serial_name), serial.number,
                                     serial_section_version, serial_bytes(serial)),
                       section, told);
}

std::optional<state::FwCfg> read_fw_cfg(const state::Device& section)
{
    state::FwCfg fw_cfg;
    FieldReader fields(section);
    fields.number("cur_entry", fw_cfg.selected);
    fields.number("cur_offset[1]", fw_cfg.offset);
    for (const OptionalField& field : optional_fields)
        if (fields.has(field.name))
            fields.number(field.name, fw_cfg.*field.member);
    fields.pass_over("[fw_cfg/dma]");
    fields.pass_over("[fw_cfg/acpi_mr]");
    if (!fields.status() || !fields.left_over().empty())
        return std::nullopt;
    return fw_cfg;
}

Status write_fw_cfg(const state::FwCfg& fw_cfg, state::Device& section)
{
    FieldWriter fields(section);
    fields.number("cur_entry", fw_cfg.selected);
    fields.number("cur_offset[1]", fw_cfg.offset);
    for (const OptionalField& field : optional_fields)
        if (fields.has(field.name) && fw_cfg.*field.member != 0)
            fields.number(field.name, fw_cfg.*field.member);
    return fields.status();
}

} // namespace drover::qemu
