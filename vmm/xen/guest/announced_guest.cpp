// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/announced_guest.h"

#include "vmm/xen/guest/ram_layout.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <iterator>
#include <span>

namespace drover::xen {

namespace {

constexpr unsigned functions_each_slot = 8;
constexpr size_t most_announced = 16; ///< devices, which have 32 slots less the machine's own
constexpr size_t most_serial_ports = 4;
constexpr size_t most_vcpus = 128; ///< of Xen's HVM guests
constexpr uint64_t mebibyte = 1U << 20;
/// Gives the tables of a guest that was born on Xen a place under QEMU: here they need none.
constexpr std::string_view home_of_tables = "ivshmem-plain";

/// The host bridge, and PIIX3 with its IDE and its power management.
constexpr std::string_view own_places[] = {"00.0", "01.0", "01.1", "01.3"};

bool is_all_hex(std::string_view text)
{
    return std::ranges::all_of(
        text, [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; });
}

bool is_uuid(const std::string& text)
{
    static constexpr std::array<size_t, 4> dashes = {8, 13, 18, 23};
    if (text.size() != 36)
        return false;
    for (size_t i = 0; i < text.size(); ++i)
        if (std::ranges::find(dashes, i) != dashes.end() ? text[i] != '-'
                                                         : !is_all_hex(text.substr(i, 1)))
            return false;
    return true;
}

/// An empty floppy drive is missed by nobody.
Status read_drives(const Json& drives, AnnouncedGuest& guest)
{
    for (const auto& [name, medium] : drives.items()) {
        if (name.starts_with("floppy") && medium.empty())
            continue;
        auto drive = read_drive(name, medium);
        if (!drive)
            return pass(drive);
        guest.drives.push_back(std::move(*drive));
    }
    return {};
}

/// What to do with a device that cannot go along.
std::string remedy_for(const std::string& type)
{
    static constexpr std::array network_cards = {"e1000", "rtl8139", "ne2k",
                                                 "pcnet", "vmxnet",  "i8255"};
    static constexpr std::array disks = {"ide-", "scsi-", "nvme", "ahci", "virtio-scsi"};
    const auto begins = [&type](const char* beginning) { return type.starts_with(beginning); };
    if (std::ranges::any_of(network_cards, begins))
        return "give the guest virtio-net-pci instead, or detach it (device_del)";
    if (std::ranges::any_of(disks, begins))
        return "give the guest virtio-blk-pci instead, or detach it (device_del)";
    return "detach it (device_del)";
}

/// On the machine's own IDE or floppy controller.
void judge_drives(const Json& machine, std::vector<std::string>& reasons)
{
    for (const auto& [name, medium] : object_in(machine, "drives").items())
        if (!medium.empty())
            reasons.push_back("drive " + quoted(name) +
                              ": what is on the machine's own controllers does not go along; give "
                              "the guest virtio-blk-pci instead, or eject it");
}

/// Xen's device model has the guest's memory in passing only: where a guest puts a page into its
/// balloon, takes one out or reports one, it looks for a mapping that there is not, and ends. A
/// balloon that nobody fills is left alone by its driver.
void judge_balloon(const Json& machine, std::vector<std::string>& reasons)
{
    for (const auto& [name, hardware] : object_in(machine, "hardware").items()) {
        if (json_string(hardware, "type") != "virtio-balloon-pci")
            continue;
        const std::string balloon = "balloon " + quoted(name);
        if (const uint64_t given = json_u64(machine, "ballooned"); given > 0)
            reasons.push_back(balloon + " has " +
                              std::to_string((given + mebibyte - 1) / mebibyte) +
                              " MiB of the guest's memory, which a device model of Xen's cannot "
                              "give back; give them back first (balloon)");
        for (const char* property : {"free-page-reporting", "free-page-hint"})
            if (json_bool(object_in(hardware, "properties"), property))
                reasons.push_back(balloon + " has " + property +
                                  "=on: a device model of Xen's cannot take free pages; start the "
                                  "guest without it, or detach it (device_del)");
    }
}

void judge_places(const Json& machine, std::vector<std::string>& reasons)
{
    for (const auto& [place, what] : object_in(machine, "pci").items()) {
        const std::string text = what.is_string() ? what.get<std::string>() : std::string();
        if (std::ranges::find(own_places, place) != std::end(own_places) || text.ends_with(")"))
            continue; // a device with a name is judged by that
        const auto is_there = [&place](const Json& hardware) {
            char at[16];
            const auto devfn = static_cast<unsigned>(json_u64(hardware, "addr"));
            snprintf(at, sizeof at, "%02x.%x", devfn / functions_each_slot & 0xff,
                     devfn % functions_each_slot);
            return place == at;
        };
        if (std::ranges::any_of(object_in(machine, "hardware"), is_there) ||
            text.starts_with("1af4:1110")) // ivshmem
            continue;
        reasons.push_back("PCI device " + quoted(text) + " at " + quoted(place) +
                          ": no neutral form; start the guest without it (-nodefaults, -vga none, "
                          "usb=off; on Xen vga=\"none\", usb=0, xen_platform_pci=0)");
    }
}

std::string slot_of(const Json& machine, const std::string& name)
{
    for (const auto& [place, what] : object_in(machine, "pci").items())
        if (what.is_string() && what.get<std::string>().ends_with("(" + name + ")"))
            return " at slot " + quoted(place);
    return "";
}

} // namespace

std::vector<std::string> without_neutral_form(const Json& machine)
{
    std::vector<std::string> reasons;
    for (const auto& [name, type] : object_in(machine, "devices").items())
        if (const std::string kind = type.is_string() ? type.get<std::string>() : std::string();
            !is_known_type(kind) && kind != home_of_tables)
            reasons.push_back(quoted(kind) + " " + quoted(name) + slot_of(machine, name) +
                              ": no neutral form; " + remedy_for(kind));
    judge_drives(machine, reasons);
    judge_balloon(machine, reasons);
    judge_places(machine, reasons);
    return reasons;
}

std::vector<std::string> not_for_xen(const Json& machine)
{
    std::vector<std::string> reasons;
    if (!json_string(machine, "machine").starts_with("pc-i440fx"))
        reasons.push_back("machine " + quoted(json_string(machine, "machine")) +
                          ": Xen has that of -M pc only");
    if (json_u64(machine, "cpus") > most_vcpus)
        reasons.emplace_back("more than 128 vCPUs: Xen has no more for a guest");
    if (!object_in(machine, "dimms").empty())
        reasons.emplace_back("plugged memory: Xen has none; unplug it");
    std::ranges::move(without_neutral_form(machine), std::back_inserter(reasons));
    return reasons;
}

Result<AnnouncedGuest> announced_guest(const Json& machine, uint64_t memory)
{
    AnnouncedGuest guest{.name = json_string(machine, "name"),
                         .uuid = json_string(machine, "uuid"),
                         .vcpus = json_u64(machine, "cpus"),
                         .memory = memory,
                         .hole = hole_for(layout_of_source(machine, memory)),
                         .serial_ports = json_u64(machine, "serial_ports"),
                         .devices = {},
                         .drives = {}};
    // xl takes a number for a domain's own.
    if (!guest.name.empty() && !is_name(guest.name, "-._+"))
        return fail(ErrorKind::Incompatible,
                    "the guest's name " + quoted(guest.name) + " cannot be a domain's",
                    "give it another at the destination: -name NAME");
    if (!is_uuid(guest.uuid) || guest.uuid.find_first_not_of("0-") == std::string::npos)
        guest.uuid.clear();
    if (guest.vcpus == 0 || guest.vcpus > most_vcpus || guest.serial_ports > most_serial_ports)
        return fail(ErrorKind::Incompatible,
                    "the source's machine has no possible number of vCPUs or serial ports");
    const Json& hardware = object_in(machine, "hardware");
    for (const auto& [name, type] : object_in(machine, "devices").items()) {
        const std::string kind = type.is_string() ? type.get<std::string>() : std::string();
        if (!is_known_type(kind))
            continue; // not_for_xen() tells, or it is not needed
        if (guest.devices.size() >= most_announced)
            return fail(ErrorKind::Incompatible, "the source has more than 16 devices",
                        "give the destination the guest's configuration: -config FILE");
        auto device = read_device(name, kind, object_in(hardware, name.c_str()));
        if (!device)
            return pass(device);
        guest.devices.push_back(std::move(*device));
    }
    if (Status read = read_drives(object_in(machine, "drives"), guest); !read)
        return pass(read);
    return guest;
}

} // namespace drover::xen
