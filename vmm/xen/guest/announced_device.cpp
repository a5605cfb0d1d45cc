// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/announced_device.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <span>

namespace drover::xen {

namespace {

constexpr size_t longest_name = 64;
constexpr size_t longest_path = 1024;
constexpr std::string_view anonymous_prefix = "unnamed device[";
constexpr unsigned functions_a_slot = 8;
constexpr unsigned pci_slots = 32;
constexpr unsigned first_free_slot = 2; ///< behind the host bridge and PIIX

/// NonZero: a number that an older QEMU does not know, which has what 0 stands for.
enum class Form { Number, NonZero, Truth, TruthOrAuto, Mac, Text };

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
constexpr KnownProperty entropy_words[] = {
    {"max-bytes", Form::Number, INT64_MAX}, {"period", Form::Number, UINT32_MAX},
    {"vectors", Form::Number, 2048},        {"disable-legacy", Form::TruthOrAuto},
    {"disable-modern", Form::Truth},
};
constexpr KnownProperty balloon_words[] = {
    {"deflate-on-oom", Form::Truth},  {"page-poison", Form::Truth},
    {"vectors", Form::NonZero, 2048}, {"disable-legacy", Form::TruthOrAuto},
    {"disable-modern", Form::Truth},
};

struct KnownKind {
    std::string_view type;
    std::span<const KnownProperty> properties;
    BackEnd back_end;
};
constexpr KnownKind known_kinds[] = {
    {"virtio-blk-pci", disk_words, BackEnd::Disk},
    {"virtio-net-pci", network_words, BackEnd::Network},
    {"virtio-rng-pci", entropy_words, BackEnd::Entropy},
    {"virtio-balloon-pci", balloon_words, BackEnd::Nothing},
};

const KnownKind* find_kind(std::string_view type)
{
    const auto found = std::ranges::find(known_kinds, type, &KnownKind::type);
    return found != std::end(known_kinds) ? found : nullptr;
}

bool is_letter(char c)
{
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

bool is_word(std::string_view text, std::string_view besides)
{
    return !text.empty() && text.size() <= longest_name &&
           std::isalnum(static_cast<unsigned char>(text[0])) != 0 &&
           std::ranges::all_of(text, [besides](char c) {
               return std::isalnum(static_cast<unsigned char>(c)) != 0 || besides.contains(c);
           });
}

/// As QEMU's ids are.
bool is_id(std::string_view text)
{
    return is_name(text, "-._");
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

/// As QEMU takes it on its command line; nothing where it cannot be.
std::optional<std::string> property_word(const KnownProperty& known, const Json& value)
{
    const std::string text = value.is_string() ? value.get<std::string>() : std::string();
    std::string word;
    switch (known.form) {
    case Form::Number:
    case Form::NonZero:
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

} // namespace

Result<AnnouncedDevice> read_device(const std::string& name, const std::string& type,
                                    const Json& hardware)
{
    const KnownKind* kind = find_kind(type);
    if (kind == nullptr)
        return unclear(name, "is of a kind that is not known here");
    AnnouncedDevice device;
    device.name = name;
    device.type = type;
    if (!is_id(name) && !is_unnamed(name))
        return unclear(name, "has no possible name");
    const uint64_t devfn = json_u64(hardware, "addr", UINT64_MAX);
    if (devfn < first_free_slot * functions_a_slot || devfn >= pci_slots * functions_a_slot)
        return unclear(name, "has no place on the PCI bus that is known");
    device.slot = static_cast<unsigned>(devfn) / functions_a_slot;
    device.function = static_cast<unsigned>(devfn) % functions_a_slot;
    const Json& properties = object_in(hardware, "properties");
    for (const KnownProperty& known : kind->properties) {
        const auto value = properties.find(known.name);
        if (value == properties.end() ||
            (value->is_string() && value->get_ref<const std::string&>().empty()) ||
            (known.form == Form::NonZero && *value == 0))
            continue;
        auto word = property_word(known, *value);
        if (!word)
            return unclear(name, "has a " + std::string(known.name) + " that cannot be");
        device.properties.push_back(std::move(*word));
    }
    device.back_end = kind->back_end;
    if (device.back_end == BackEnd::Disk) {
        auto image = image_of(name, object_in(hardware, "disk"));
        if (!image)
            return pass(image);
        device.disk = std::move(*image);
        device.read_only = json_bool(object_in(hardware, "disk"), "read_only");
        return device;
    }
    if (device.back_end != BackEnd::Network)
        return device;
    device.network = json_string(properties, "netdev");
    if (!device.network.empty() && !is_id(device.network))
        return unclear(name, "has a network of no possible name");
    return device;
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

bool is_known_type(std::string_view type)
{
    return find_kind(type) != nullptr;
}

bool is_name(std::string_view text, std::string_view besides)
{
    return is_word(text, besides) && is_letter(text[0]);
}

/// Text of a peer's, for people: short, and of one line.
std::string quoted(std::string text)
{
    text.resize(std::min(text.size(), longest_name));
    std::ranges::replace_if(
        text, [](char c) { return c < ' ' || c > '~'; }, '?');
    return "'" + text + "'";
}

const Json& object_in(const Json& object, const char* name)
{
    static const Json none = Json::object();
    const auto found = object.is_object() ? object.find(name) : object.end();
    return object.is_object() && found != object.end() && found->is_object() ? *found : none;
}

} // namespace drover::xen
