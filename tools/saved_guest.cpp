// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/saved_guest.h"

#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/qemu/state/block_pages.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/xen/state/xen_machine.h"

#include <algorithm>

namespace drover::tools {

namespace {

Status read_from_qemu(SavedGuest& guest)
{
    auto state = qemu::read_qemu_state(guest.file, qemu::Pages::Located);
    if (!state)
        return pass(state);
    guest.qemu = std::move(*state);
    auto sections = qemu::devices_of(*guest.qemu, guest.file);
    if (!sections)
        return pass(sections);
    auto read = qemu::read_machine(*sections);
    if (!read)
        return pass(read);
    if (const Status known = qemu::check_known(read->not_carried); !known)
        return known;
    guest.machine = std::move(read->machine);
    guest.not_carried = std::move(read->not_carried);
    const auto ram = std::ranges::find(guest.qemu->ram, "pc.ram", &qemu::SavedRam::name);
    const auto hole =
        std::ranges::find_if(guest.qemu->ram, qemu::is_acpi_hole, &qemu::SavedRam::name);
    const bool has_hole = hole != guest.qemu->ram.end();
    if (ram != guest.qemu->ram.end())
        guest.pages =
            std::make_unique<qemu::QemuGuestPages>(*ram, has_hole ? &*hole : nullptr, guest.file);
    return {};
}

Status read_from_xen(SavedGuest& guest)
{
    auto state = xen::read_xen_state(guest.file);
    if (!state)
        return pass(state);
    guest.xen = std::move(*state);
    auto read = xen::read_machine(*guest.xen);
    if (!read)
        return pass(read);
    if (const Status known = qemu::check_known(read->not_carried); !known)
        return known;
    guest.machine = std::move(read->machine);
    guest.not_carried = std::move(read->not_carried);
    guest.pages = std::make_unique<xen::XenPages>(*guest.xen, guest.file);
    return {};
}

} // namespace

Result<std::unique_ptr<SavedGuest>> read_saved_guest(const std::string& path)
{
    auto file = FileBytes::open(path);
    if (!file)
        return pass(file);
    auto guest = std::make_unique<SavedGuest>(std::move(*file));
    Status read = xen::is_xen_save(guest->file) ? read_from_xen(*guest) : read_from_qemu(*guest);
    if (!read)
        return std::unexpected(std::move(read.error()).in(path));
    return guest;
}

} // namespace drover::tools
