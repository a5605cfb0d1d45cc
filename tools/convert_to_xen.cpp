// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/convert.h"
#include "tools/new_file.h"
#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/xen/guest/ram_layout.h"
#include "vmm/xen/state/xen_save.h"

#include <algorithm>
#include <glib.h>

namespace drover::tools {

namespace {

std::string new_uuid()
{
    gchar* text = g_uuid_string_random();
    std::string uuid = text;
    g_free(text);
    return uuid;
}

uint64_t memory_of(const SavedGuest& guest)
{
    const auto ram = std::ranges::find(guest.qemu->ram, "pc.ram", &qemu::SavedRam::name);
    return ram != guest.qemu->ram.end() ? ram->size : 0;
}

Status check_goes_to_xen(const qemu::QemuState& qemu)
{
    if (!qemu.machine.starts_with("pc-i440fx"))
        return fail(ErrorKind::Incompatible, "only guests of -M pc go to Xen, whose machine is the "
                                             "same; this one is " +
                                                 qemu.machine);
    if (std::ranges::find(qemu.ram, "pc.ram", &qemu::SavedRam::name) == qemu.ram.end())
        return fail(ErrorKind::Incompatible, "the guest's RAM has another name than pc.ram",
                    "give its memory backend that id");
    return {};
}

/// Where the guest has less of its memory below 4 GiB than other domains have.
Json config_with_hole(Json config, uint64_t memory, std::vector<std::string>& changes)
{
    const uint64_t hole = xen::hole_for(qemu::PcMemory::of(memory));
    if (hole == 0)
        return config;
    config["b_info"]["type.hvm"]["mmio_hole_memkb"] = hole << 10;
    changes.push_back(
        "memory lies beside a hole of " + std::to_string(hole) +
        " MiB: a configuration for xl restore needs mmio_hole=" + std::to_string(hole));
    return config;
}

} // namespace

Changes convert_to_xen(const SavedGuest& guest, const std::string& path, const XenOptions& options)
{
    if (!guest.qemu)
        return fail(ErrorKind::Invalid, "it is a file of Xen's already");
    if (Status fits = check_goes_to_xen(*guest.qemu); !fits)
        return pass(fits);
    state::MachineState state = guest.machine;
    // Xen has memory there itself.
    if (auto hole = qemu::take_acpi_hole(state.devices); !hole)
        return pass(hole);
    auto machine = xen::write_machine(state);
    if (!machine)
        return pass(machine);
    const uint64_t memory = memory_of(guest);
    const xen::XenGuest about = {.name = options.name,
                                 .uuid = new_uuid(),
                                 .memory = memory,
                                 .config =
                                     config_with_hole(options.config, memory, machine->changes)};
    NewFile file(path);
    if (Status opened = file.open(); !opened)
        return pass(opened);
    if (Status written = xen::write_xen_save(*machine, *guest.pages, about, file.sink()); !written)
        return pass(written);
    if (Status done = file.finish(); !done)
        return pass(done);
    return std::move(machine->changes);
}

} // namespace drover::tools
