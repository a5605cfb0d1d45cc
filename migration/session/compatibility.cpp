// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/compatibility.h"

namespace drover {

namespace {

std::string mebibytes(uint64_t bytes)
{
    return std::to_string(bytes >> 20) + " MiB";
}

Status check_same(const Json& source, const Json& destination, const char* key, const char* what,
                  const char* hint)
{
    const std::string a = json_string(source, key);
    const std::string b = json_string(destination, key);
    if (a == b)
        return {};
    return fail(ErrorKind::Incompatible,
                std::string(what) + " differs: '" + a + "' at the source, '" + b +
                    "' at the destination",
                hint);
}

/// A CPU feature that the guest sees and the destination lacks crashes it, sooner or later.
Status check_cpu_features(const Json& source, const Json& destination)
{
    const auto ours = source.find("cpu_features");
    const auto theirs = destination.find("cpu_features");
    if (ours == source.end() || theirs == destination.end() || !ours->is_object() ||
        !theirs->is_object())
        return {};
    for (const auto& [name, value] : ours->items()) {
        const uint64_t needed = value.is_number_unsigned() ? value.get<uint64_t>() : 0;
        const uint64_t missing = needed & ~json_u64(*theirs, name.c_str());
        if (missing == 0)
            continue;
        char bits[32];
        snprintf(bits, sizeof bits, "0x%llx", static_cast<unsigned long long>(missing));
        return fail(ErrorKind::Incompatible,
                    "the destination's CPU lacks features that the guest uses (" + name +
                        ", bits " + bits + ")",
                    "give both sides the same named -cpu model");
    }
    return {};
}

Status check_devices(const Json& source, const Json& destination)
{
    const Json none = Json::object();
    const auto a = source.find("devices");
    const auto b = destination.find("devices");
    const Json& ours = a != source.end() && a->is_object() ? *a : none;
    const Json& theirs = b != destination.end() && b->is_object() ? *b : none;
    const char* hint = "give the destination the same -device options, in the same order";
    for (const auto& [path, type] : ours.items()) {
        const std::string wanted = json_string(ours, path.c_str());
        const std::string found = json_string(theirs, path.c_str());
        if (found.empty())
            return fail(ErrorKind::Incompatible,
                        "the destination has no device " + path + " (" + wanted + ")", hint);
        if (found != wanted)
            return fail(ErrorKind::Incompatible,
                        "device " + path + " is " + wanted + " at the source and " + found +
                            " at the destination",
                        hint);
    }
    for (const auto& [path, type] : theirs.items())
        if (!ours.contains(path))
            return fail(ErrorKind::Incompatible,
                        "the destination has a device that the source lacks: " + path, hint);
    return {};
}

} // namespace

Status check_machines(const Json& source, const Json& destination)
{
    struct Field {
        const char* key;
        const char* what;
        const char* hint;
    };
    static constexpr Field fields[] = {
        {"kind", "the kind of hypervisor", "use the same -vmm on both sides"},
        {"arch", "the architecture", "use the emulator of the same architecture on both sides"},
        {"machine", "the machine type", "give both sides the same versioned -machine"},
        {"accelerator", "the accelerator", "give both sides the same -accel"},
        {"cpu_model", "the CPU model", "give both sides the same -cpu"},
    };
    for (const Field& field : fields)
        if (Status same = check_same(source, destination, field.key, field.what, field.hint); !same)
            return same;
    if (json_u64(source, "cpus") != json_u64(destination, "cpus"))
        return fail(ErrorKind::Incompatible,
                    "the number of vCPUs differs: " + std::to_string(json_u64(source, "cpus")) +
                        " at the source, " + std::to_string(json_u64(destination, "cpus")) +
                        " at the destination",
                    "give both sides the same -smp");
    if (Status features = check_cpu_features(source, destination); !features)
        return features;
    return check_devices(source, destination);
}

Status check_ram(std::span<const stream::RamBlockInfo> source,
                 std::span<const RamBlock> destination)
{
    if (source.size() != destination.size())
        return fail(ErrorKind::Incompatible,
                    "the source has " + std::to_string(source.size()) +
                        " RAM blocks, the destination " + std::to_string(destination.size()),
                    "give both sides the same -m, -numa and memory back-ends");
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i].name != destination[i].name)
            return fail(ErrorKind::Incompatible,
                        "RAM block " + std::to_string(i) + " is '" + source[i].name +
                            "' at the source and '" + destination[i].name + "' at the destination",
                        "give both sides the same memory back-ends, in the same order");
        if (source[i].size != destination[i].size)
            return fail(ErrorKind::Incompatible,
                        "RAM block '" + source[i].name + "' has " + mebibytes(source[i].size) +
                            " at the source and " + mebibytes(destination[i].size) +
                            " at the destination",
                        "give both sides the same -m");
    }
    return {};
}

std::vector<stream::RamBlockInfo> ram_info(std::span<const RamBlock> ram)
{
    std::vector<stream::RamBlockInfo> info;
    for (const RamBlock& block : ram)
        info.push_back({block.name, block.size, block.backing_page});
    return info;
}

} // namespace drover
