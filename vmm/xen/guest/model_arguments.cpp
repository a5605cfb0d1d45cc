// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/model_arguments.h"

#include "vmm/qemu/opts.h"

namespace drover::xen {

namespace {

/// As libxl puts them together: what all guests get, and what HVM guests get besides.
std::vector<std::string> model_words(const Json& build_info)
{
    std::vector<std::string> words;
    for (const char* list : {"extra", "extra_hvm"})
        if (const auto found = build_info.find(list);
            found != build_info.end() && found->is_array())
            for (const Json& word : *found)
                words.push_back(word.is_string() ? word.get<std::string>() : std::string());
    return words;
}

} // namespace

Json devices_of_arguments(const Json& build_info)
{
    Json devices = Json::object();
    unsigned unnamed = 0;
    const auto words = model_words(build_info);
    for (size_t i = 0; i + 1 < words.size(); ++i) {
        if (words[i] != "-device" && words[i] != "--device")
            continue;
        const auto device = qemu::Opts::parse(words[++i], "driver");
        if (!device || !device->has("driver"))
            continue; // the device model will say so
        const auto name = device->get("id");
        devices[name ? *name : "unnamed device[" + std::to_string(unnamed++) + "]"] =
            *device->get("driver");
    }
    return devices;
}

Status check_no_own_disks(const Json& config)
{
    const auto disks = config.find("disks");
    if (disks == config.end() || !disks->is_array())
        return {};
    for (const Json& disk : *disks)
        if (!json_string(disk, "pdev_path").empty() || !json_string(disk, "script").empty())
            return fail(ErrorKind::Refused,
                        "disk= gives the guest a drive " + json_string(disk, "vdev") +
                            " of xl's, which a guest of QEMU's has not, and whose block script "
                            "would run while its source has the disk",
                        "give it the disk that it has at its source, by device_model_args_hvm= "
                        "(-drive …, -device virtio-blk-pci,…)");
    return {};
}

} // namespace drover::xen
