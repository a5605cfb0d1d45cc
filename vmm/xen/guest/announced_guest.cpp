// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/announced_guest.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <span>

namespace drover::xen {

namespace {

constexpr size_t longest_name = 64;
constexpr size_t longest_path = 1024;
constexpr size_t most_announced = 16; ///< devices, which have 32 slots less the machine's own
constexpr size_t most_serial_ports = 4;
constexpr size_t most_vcpus = 128; ///< of Xen's HVM guests
constexpr std::string_view anonymous_prefix = "unnamed device[";
constexpr unsigned functions_a_slot = 8;
constexpr unsigned pci_slots = 32;
constexpr unsigned first_free_slot = 2; ///< behind the host bridge and PIIX

enum class Form { Number, Truth, TruthOrAuto, Mac, Text };

struct KnownProperty {
    std::string_view name;
    Form form;
    uint64_t most = 0; ///< of a number
};

constexpr KnownProperty disk_words[] = {
    {"num-queues", Form::Number, 256},
    {"queue-size", Form::Number, 1024},
    {"vectors", Form::Number, 2048},
    {"disable-legacy", Form::TruthOrAuto},
    {"disable-modern", Form::Truth},
    {"serial", Form::Text},
    {"config-wce", Form::Truth},
    {"logical_block_size", Form::Number, 4096},
    {"physical_block_size", Form::Number, 32768},
};
constexpr KnownProperty network_words[] = {
    {"mac", Form::Mac},
    {"vectors", Form::Number, 2048},
    {"mq", Form::Truth},
    {"rx_queue_size", Form::Number, 1024},
    {"tx_queue_size", Form::Number, 1024},
    {"host_mtu", Form::Number, 65535},
    {"disable-legacy", Form::TruthOrAuto},
    {"disable-modern", Form::Truth},
};

struct KnownKind {
    std::string_view type;
    std::span<const KnownProperty> properties;
    bool is_disk;
};
constexpr KnownKind known_kinds[] = {
    {"virtio-blk-pci", disk_words, true},
    {"virtio-net-pci", network_words, false},
};

/// Gives the tables of a guest that was born on Xen a place under QEMU: here they need none.
constexpr std::string_view home_of_tables = "ivshmem-plain";

/// The host bridge, and PIIX3 with its IDE and its power management.
constexpr std::string_view own_places[] = {"00.0", "01.0", "01.1", "01.3"};

const Json& member(const Json& object, const char* name)
{
    static const Json none = Json::object();
    const auto found = object.is_object() ? object.find(name) : object.end();
    return object.is_object() && found != object.end() && found->is_object() ? *found : none;
}

const KnownKind* find_kind(std::string_view type)
{
    const auto found = std::ranges::find(known_kinds, type, &KnownKind::type);
    return found != std::end(known_kinds) ? found : nullptr;
}

/// Text of a peer's, for people: short, and of one line.
std::string quoted(std::string text)
{
    text.resize(std::min(text.size(), longest_name));
    std::ranges::replace_if(
        text, [](char c) { return c < ' ' || c > '~'; }, '?');
    return "'" + text + "'";
}

bool is_word(std::string_view text, std::string_view besides)
{
    return !text.empty() && text.size() <= longest_name &&
           std::isalnum(static_cast<unsigned char>(text[0])) != 0 &&
           std::ranges::all_of(text, [besides](char c) {
               return std::isalnum(static_cast<unsigned char>(c)) != 0 || besides.contains(c);
           });
}

bool is_letter(char c)
{
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

/// As QEMU's ids are.
bool is_id(std::string_view text)
{
    return is_word(text, "-._") && is_letter(text[0]);
}

bool is_unnamed(const std::string& name)
{
    unsigned number = 0;
    char end = 0;
    return sscanf(name.c_str(), "unnamed device[%3u]%c", &number, &end) == 1 &&
           name == std::string(anonymous_prefix) + std::to_string(number) + "]";
}

bool is_hex(std::string_view text)
{
    return std::ranges::all_of(
        text, [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; });
}

bool is_mac(const std::string& text)
{
    static constexpr size_t length = 17;
    if (text.size() != length)
        return false;
    for (size_t i = 0; i < length; ++i)
        if (i % 3 == 2 ? text[i] != ':' : !is_hex(text.substr(i, 1)))
            return false;
    return true;
}

bool is_uuid(const std::string& text)
{
    static constexpr std::array<size_t, 4> dashes = {8, 13, 18, 23};
    if (text.size() != 36)
        return false;
    for (size_t i = 0; i < text.size(); ++i)
        if (std::ranges::find(dashes, i) != dashes.end() ? text[i] != '-'
                                                         : !is_hex(text.substr(i, 1)))
            return false;
    return true;
}

/// As QEMU takes it on its command line; nothing where it cannot be.
std::optional<std::string> property_word(const KnownProperty& known, const Json& value)
{
    const std::string text = value.is_string() ? value.get<std::string>() : std::string();
    std::string word;
    switch (known.form) {
    case Form::Number:
        if (!value.is_number_unsigned() || value.get<uint64_t>() > known.most)
            return std::nullopt;
        word = std::to_string(value.get<uint64_t>());
        break;
    case Form::Truth:
        if (!value.is_boolean())
            return std::nullopt;
        word = value.get<bool>() ? "on" : "off";
        break;
    case Form::TruthOrAuto:
        if (text != "on" && text != "off" && text != "auto")
            return std::nullopt;
        word = text;
        break;
    case Form::Mac:
        if (!is_mac(text))
            return std::nullopt;
        word = text;
        break;
    case Form::Text:
        if (!is_word(text, "-._"))
            return std::nullopt;
        word = text;
        break;
    }
    return std::string(known.name) + "=" + word;
}

std::unexpected<Error> unclear(const std::string& device, const std::string& what)
{
    return fail(ErrorKind::Incompatible, "the source's device " + quoted(device) + " " + what,
                "give the destination the guest's configuration: -config FILE");
}

Result<std::string> image_of(const std::string& device, const Json& disk)
{
    const std::string file = json_string(disk, "file");
    if (json_string(disk, "format") != "raw")
        return unclear(device, "has a disk of the format " + quoted(json_string(disk, "format")) +
                                   ", which may name other files: only raw ones are taken");
    const bool plain = std::ranges::all_of(
        file, [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '\''; });
    if (!file.starts_with('/') || file.size() > longest_path || !plain)
        return unclear(device, "has a disk that is no plain path: " + quoted(file));
    return file;
}

/// As QEMU names those of the machine's own controller: "ide0-hd0" … "ide1-cd1".
Result<AnnouncedDrive> read_drive(const std::string& name, const Json& medium)
{
    unsigned bus = 0;
    unsigned unit = 0;
    char kind = 0;
    if (name.size() != std::string_view("ide0-hd0").size() ||
        sscanf(name.c_str(), "ide%1u-%cd%1u", &bus, &kind, &unit) != 3 || bus > 1 || unit > 1 ||
        (kind != 'h' && kind != 'c'))
        return unclear(name, "is a drive of no known place");
    AnnouncedDrive drive{
        .index = 2 * bus + unit, .is_cd = kind == 'c', .disk = {}, .read_only = false};
    if (medium.empty())
        return drive;
    auto image = image_of(name, medium);
    if (!image)
        return pass(image);
    drive.disk = std::move(*image);
    drive.read_only = json_bool(medium, "read_only");
    return drive;
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

Result<AnnouncedDevice> read_device(const std::string& name, const KnownKind& kind,
                                    const Json& hardware)
{
    AnnouncedDevice device;
    device.name = name;
    device.type = kind.type;
    if (!is_id(name) && !is_unnamed(name))
        return unclear(name, "has no possible name");
    const uint64_t devfn = json_u64(hardware, "addr", UINT64_MAX);
    if (devfn < first_free_slot * functions_a_slot || devfn >= pci_slots * functions_a_slot)
        return unclear(name, "has no place on the PCI bus that is known");
    device.slot = static_cast<unsigned>(devfn) / functions_a_slot;
    device.function = static_cast<unsigned>(devfn) % functions_a_slot;
    const Json& properties = member(hardware, "properties");
    for (const KnownProperty& known : kind.properties) {
        const auto value = properties.find(known.name);
        if (value == properties.end() || (value->is_string() && *value == ""))
            continue;
        auto word = property_word(known, *value);
        if (!word)
            return unclear(name, "has a " + std::string(known.name) + " that cannot be");
        device.properties.push_back(std::move(*word));
    }
    if (kind.is_disk) {
        auto image = image_of(name, member(hardware, "disk"));
        if (!image)
            return pass(image);
        device.disk = std::move(*image);
        device.read_only = json_bool(member(hardware, "disk"), "read_only");
        return device;
    }
    device.network = json_string(properties, "netdev");
    if (!device.network.empty() && !is_id(device.network))
        return unclear(name, "has a network of no possible name");
    return device;
}

void judge_places(const Json& machine, std::vector<std::string>& reasons)
{
    for (const auto& [place, what] : member(machine, "pci").items()) {
        const std::string text = what.is_string() ? what.get<std::string>() : std::string();
        if (std::ranges::find(own_places, place) != std::end(own_places) || text.ends_with(")"))
            continue; // a device with a name is judged by that
        const auto is_there = [&place](const Json& hardware) {
            char at[16];
            const auto devfn = static_cast<unsigned>(json_u64(hardware, "addr"));
            snprintf(at, sizeof at, "%02x.%x", devfn / functions_a_slot & 0xff,
                     devfn % functions_a_slot);
            return place == at;
        };
        if (std::ranges::any_of(member(machine, "hardware"), is_there) ||
            text.starts_with("1af4:1110")) // ivshmem
            continue;
        reasons.push_back("PCI device " + quoted(text) + " at " + quoted(place) +
                          ": no neutral form; start the guest without it (-nodefaults, -vga none, "
                          "usb=off)");
    }
}

std::string slot_of(const Json& machine, const std::string& name)
{
    for (const auto& [place, what] : member(machine, "pci").items())
        if (what.is_string() && what.get<std::string>().ends_with("(" + name + ")"))
            return " at slot " + quoted(place);
    return "";
}

} // namespace

std::vector<std::string> not_for_xen(const Json& machine)
{
    std::vector<std::string> reasons;
    if (!json_string(machine, "machine").starts_with("pc-i440fx"))
        reasons.push_back("machine " + quoted(json_string(machine, "machine")) +
                          ": Xen has that of -M pc only");
    if (json_u64(machine, "cpus") > most_vcpus)
        reasons.emplace_back("more than 128 vCPUs: Xen has no more for a guest");
    for (const auto& [name, type] : member(machine, "devices").items())
        if (const std::string kind = type.is_string() ? type.get<std::string>() : std::string();
            find_kind(kind) == nullptr && kind != home_of_tables)
            reasons.push_back(quoted(kind) + " " + quoted(name) + slot_of(machine, name) +
                              ": no neutral form; detach it (device_del)");
    if (!member(machine, "dimms").empty())
        reasons.emplace_back("plugged memory: Xen has none; unplug it");
    judge_places(machine, reasons);
    return reasons;
}

Result<AnnouncedGuest> announced_guest(const Json& machine, uint64_t memory)
{
    AnnouncedGuest guest{.name = json_string(machine, "name"),
                         .uuid = json_string(machine, "uuid"),
                         .vcpus = json_u64(machine, "cpus"),
                         .memory = memory,
                         .serial_ports = json_u64(machine, "serial_ports"),
                         .devices = {},
                         .drives = {}};
    // xl takes a number for a domain's own.
    if (!guest.name.empty() && (!is_word(guest.name, "-._+") || !is_letter(guest.name[0])))
        return fail(ErrorKind::Incompatible,
                    "the guest's name " + quoted(guest.name) + " cannot be a domain's",
                    "give it another at the destination: -name NAME");
    if (!is_uuid(guest.uuid) || guest.uuid.find_first_not_of("0-") == std::string::npos)
        guest.uuid.clear();
    if (guest.vcpus == 0 || guest.vcpus > most_vcpus || guest.serial_ports > most_serial_ports)
        return fail(ErrorKind::Incompatible,
                    "the source's machine has no possible number of vCPUs or serial ports");
    const Json& hardware = member(machine, "hardware");
    for (const auto& [name, type] : member(machine, "devices").items()) {
        const KnownKind* kind = find_kind(type.is_string() ? type.get<std::string>() : "");
        if (kind == nullptr)
            continue; // not_for_xen() tells, or it is not needed
        if (guest.devices.size() >= most_announced)
            return fail(ErrorKind::Incompatible, "the source has more than 16 devices",
                        "give the destination the guest's configuration: -config FILE");
        auto device = read_device(name, *kind, member(hardware, name.c_str()));
        if (!device)
            return pass(device);
        guest.devices.push_back(std::move(*device));
    }
    if (Status read = read_drives(member(machine, "drives"), guest); !read)
        return pass(read);
    return guest;
}

} // namespace drover::xen
