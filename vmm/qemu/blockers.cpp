// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/blockers.h"

#include "vmm/qemu/opts.h"

#include <algorithm>
#include <sstream>
#include <string_view>

namespace drover::qemu {

namespace {

struct Sign {
    std::string_view begin; ///< how the name begins
    std::string_view why;
};

constexpr std::string_view vfio_writes = "a VFIO device writes guest RAM by itself";
constexpr std::string_view vdpa_writes = "a vDPA device writes guest RAM by itself";
constexpr std::string_view other_process = "its back-end writes guest RAM from another process";
constexpr std::string_view pass_through =
    "SCSI pass-through lets the disk write guest RAM where Drover cannot see it";
constexpr std::string_view pinned_pages =
    "vhost-scsi writes guest RAM through pages that it has pinned";

constexpr Sign device_signs[] = {
    {"vfio-", vfio_writes},
    {"x-vfio-user", vfio_writes},
    {"vhost-user-", other_process},
    {"vhost-vdpa-", vdpa_writes},
    {"vhost-scsi", pinned_pages},
    {"scsi-block", pass_through},
    {"scsi-generic", pass_through},
    {"x-pci-proxy-dev", other_process},
    {"ivshmem-doorbell", other_process},
};
constexpr Sign network_signs[] = {{"vhost-user", other_process}, {"vhost-vdpa", vdpa_writes}};
constexpr Sign node_signs[] = {
    {"nvme", "QEMU's userspace NVMe driver lets the disk write guest RAM by itself"},
    {"io_uring", "io_uring reads disks into guest RAM where Drover cannot see it"},
    {"virtio-blk-", "its back-end writes guest RAM by itself"},
};
constexpr Sign file_signs[] = {
    {"/dev/vfio/", vfio_writes},
    {"anon_inode:[vfio-device]", vfio_writes},
    {"/dev/vhost-vdpa", vdpa_writes},
    {"/dev/vhost-scsi", pinned_pages},
};

const Sign* find_sign(std::span<const Sign> signs, std::string_view name)
{
    for (const Sign& sign : signs)
        if (name.starts_with(sign.begin))
            return &sign;
    return nullptr;
}

/// An option's text is a value of the user's, not for us to judge, but for these.
bool may_open_disks(std::string_view option)
{
    while (option.starts_with('-'))
        option.remove_prefix(1);
    return option == "drive" || option == "blockdev" || option == "set" || option == "hda" ||
           option == "hdb" || option == "hdc" || option == "hdd" || option == "cdrom";
}

/// "a,b=c" for all of: a command line's option, JSON, and the lines of a configuration file.
std::string normalised(std::string_view text)
{
    std::string out;
    for (const char c : text)
        if (c == '\n' || c == '{' || c == '[')
            out += ',';
        else if (c == ':' && out.ends_with('"')) // JSON's; others belong to a value
            out.back() = '=';
        else if (c != ' ' && c != '\t' && c != '\r')
            out += c;
    std::erase(out, '"');
    return out;
}

/// A file may be called /srv/aio=native.img: only a whole KEY=VALUE counts.
bool names_unseen_aio(const std::string& text)
{
    for (const std::string_view sign : {"aio=native", "aio=io_uring"})
        for (size_t at = text.find(sign); at != std::string::npos; at = text.find(sign, at + 1)) {
            const size_t end = at + sign.size();
            const bool whole = end == text.size() || text[end] == ',' || text[end] == '}';
            if (whole && (at == 0 || text[at - 1] == ',' || text[at - 1] == '.'))
                return true;
        }
    return false;
}

/// The values of all "id" and "node-name" in the text.
std::set<std::string> names_in(const std::string& text)
{
    std::set<std::string> names;
    std::istringstream items(text);
    for (std::string item; std::getline(items, item, ',');) {
        const size_t equals = item.find('=');
        if (equals == std::string::npos)
            continue;
        std::string key = item.substr(0, equals);
        key.erase(0, key.rfind('.') + 1); // "file.node-name"
        std::string value = item.substr(equals + 1);
        std::erase(value, '}');
        std::erase(value, ']');
        if (key == "id" || key == "node-name")
            names.insert(std::move(value));
    }
    return names;
}

std::string describe(std::string_view what, std::string_view why)
{
    return std::string(what) + ": " + std::string(why);
}

void add_devices(const RunningFacts& facts, std::vector<std::string>& reasons)
{
    for (const Json& property : facts.devices) {
        std::string type = json_string(property, "type");
        if (!type.starts_with("child<") || !type.ends_with(">"))
            continue;
        type = type.substr(6, type.size() - 7);
        if (const Sign* sign = find_sign(device_signs, type))
            reasons.push_back(describe(
                "the device " + json_string(property, "name") + " (" + type + ")", sign->why));
    }
}

/// Lines as "\ net0: index=0,type=tap,ifname=…": what follows the type may hold a user's text.
void add_network(const RunningFacts& facts, std::vector<std::string>& reasons)
{
    std::istringstream lines(facts.network);
    for (std::string line; std::getline(lines, line);) {
        const size_t begin = std::min(line.find_first_not_of(" \\"), line.size());
        const size_t colon = line.find(": index=", begin);
        const size_t type = colon == std::string::npos ? colon : line.find(",type=", colon);
        if (type == std::string::npos)
            continue;
        if (const Sign* sign = find_sign(network_signs, std::string_view(line).substr(type + 6)))
            reasons.push_back(
                describe("the network back-end " + line.substr(begin, colon - begin), sign->why));
    }
}

void add_nodes(const RunningFacts& facts, std::vector<std::string>& reasons)
{
    for (const Json& node : facts.nodes)
        if (const Sign* sign = find_sign(node_signs, json_string(node, "drv")))
            reasons.push_back(describe("the block node " + json_string(node, "node-name") + " (" +
                                           json_string(node, "drv") + ")",
                                       sign->why));
}

void add_files(const RunningFacts& facts, std::vector<std::string>& reasons)
{
    for (const std::string& file : facts.files)
        if (const Sign* sign = find_sign(file_signs, file))
            reasons.push_back(describe(file, sign->why));
}

std::set<std::string> present_names(const RunningFacts& facts)
{
    std::set<std::string> names;
    for (const Json& node : facts.nodes)
        names.insert(json_string(node, "node-name"));
    for (const Json& block : facts.blocks)
        names.insert(json_string(block, "device"));
    names.erase("");
    return names;
}

} // namespace

void AioWords::learn(const std::string& options)
{
    const std::string text = normalised(options);
    if (names_unseen_aio(text))
        uses_.push_back({names_in(text), options});
}

void AioWords::learn(std::span<const std::string> arguments, const HostFacts& host)
{
    for (size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view option = arguments[i - 1];
        if (may_open_disks(option))
            learn(arguments[i]);
        if (!option.ends_with("-readconfig") || host.path_kind(arguments[i]) != PathKind::File)
            continue;
        if (const auto file = host.read_file(arguments[i]);
            file && names_unseen_aio(normalised(*file)))
            uses_.push_back({{}, "-readconfig " + arguments[i]});
    }
}

std::vector<std::string> AioWords::blockers(const std::set<std::string>& present) const
{
    std::vector<std::string> reasons;
    for (const Use& use : uses_) {
        const bool gone = !pinned_ && !use.names.empty() &&
                          std::ranges::none_of(use.names, [&](const std::string& name) {
                              return present.contains(name);
                          });
        if (!gone)
            reasons.push_back(describe(use.text, "aio=native and aio=io_uring read disks into "
                                                 "guest RAM where Drover cannot see it; use "
                                                 "aio=threads"));
    }
    return reasons;
}

std::vector<std::string> uncarried_memory(const Json& memdevs, const std::set<std::string>& ours)
{
    std::vector<std::string> reasons;
    for (const Json& memdev : memdevs) {
        const std::string id = json_string(memdev, "id");
        if (json_bool(memdev, "share") && !ours.contains(id))
            reasons.push_back(describe("the memory back-end " + (id.empty() ? "without an id" : id),
                                       "its memory is shared, and not Drover's: nobody would carry "
                                       "what is in it; use share=off, or object-del it"));
    }
    return reasons;
}

std::vector<std::string> migration_blockers(const RunningFacts& facts,
                                            const std::set<std::string>& ours, const AioWords& aio)
{
    std::vector<std::string> reasons = uncarried_memory(facts.memdevs, ours);
    add_devices(facts, reasons);
    add_network(facts, reasons);
    add_nodes(facts, reasons);
    add_files(facts, reasons);
    for (std::string& reason : aio.blockers(present_names(facts)))
        reasons.push_back(std::move(reason));
    if (facts.linux_aio && aio.empty())
        reasons.emplace_back(
            "a disk: QEMU reads it by Linux AIO into guest RAM where Drover cannot "
            "see it; use aio=threads");
    if (const auto own = facts.migration.find("blocked-reasons");
        own != facts.migration.end() && own->is_array())
        for (const Json& reason : *own)
            if (reason.is_string())
                reasons.push_back(reason.get<std::string>());
    return reasons;
}

} // namespace drover::qemu
