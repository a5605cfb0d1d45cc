// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/convert.h"
#include "tools/new_file.h"
#include "vmm/qemu/state/acpi_hole.h"
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
    const xen::XenGuest about = {.name = options.name,
                                 .uuid = new_uuid(),
                                 .memory = memory_of(guest),
                                 .config = options.config};
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
