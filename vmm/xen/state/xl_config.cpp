// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/xen_save.h"

namespace drover::xen {

namespace {

constexpr const char* off = "False"; // libxl's three-valued truths are texts

} // namespace

Json xl_config(const XenGuest& guest, size_t vcpus, bool native_tsc)
{
    Json numbers = Json::array();
    for (size_t i = 0; i < vcpus; ++i)
        numbers.push_back(i);
    const uint64_t kib = guest.memory >> 10;
    const Json machine = {{"hpet", off},
                          {"nographic", "True"},
                          {"vga", {{"kind", "none"}}},
                          {"vnc", {{"enable", off}}},
                          {"sdl", {{"enable", off}}},
                          {"usb", off},
                          {"xen_platform_pci", off}};
    Json config = {{"c_info",
                    {{"type", "hvm"},
                     {"name", guest.name},
                     {"uuid", guest.uuid},
                     {"run_hotplug_scripts", "True"}}},
                   {"b_info",
                    {{"max_vcpus", vcpus},
                     {"avail_vcpus", numbers},
                     {"tsc_mode", native_tsc ? "native" : "default"},
                     {"max_memkb", kib},
                     {"target_memkb", kib},
                     {"video_memkb", 0},
                     {"claim_mode", "True"},
                     {"type.hvm", machine},
                     {"arch_x86", {{"msr_relaxed", off}}}}},
                   {"on_reboot", "restart"},
                   {"on_soft_reset", "soft_reset"}};
    config.merge_patch(guest.config);
    return config;
}

} // namespace drover::xen
