// SPDX-License-Identifier: GPL-2.0-or-later
//
// The guest that is to come, by what its source says: whether it can, and what is made for it.
#include "util/log.h"
#include "vmm/xen/guest/model_arguments.h"
#include "vmm/xen/guest/ram_layout.h"
#include "vmm/xen/live/incoming_domain.h"
#include "vmm/xen/live/xen_cpu.h"
#include "vmm/xen/live/xen_destination.h"
#include "vmm/xen/live/xen_ram.h"
#include "vmm/xen/live/xl_tool.h"

#include <algorithm>

namespace drover::xen {

namespace {

/// They may be many: a peer's.
std::string joined(const std::vector<std::string>& reasons)
{
    constexpr size_t most_reasons = 8;
    std::string text;
    for (size_t i = 0; i < std::min(reasons.size(), most_reasons); ++i)
        text += (i == 0 ? "" : "; and: ") + reasons[i];
    if (reasons.size() > most_reasons)
        text += "; and " + std::to_string(reasons.size() - most_reasons) + " more";
    return text;
}

} // namespace

/// Of the domain that will be made: nobody can ask it yet. One whose configuration changes its CPU
/// may have all that the host has.
void XenDestination::add_cpu(Json& description) const
{
    if (cpu_features_) {
        description["cpu_features"] = *cpu_features_;
        return;
    }
    const Json build = config_.guest.config.value("b_info", Json::object());
    const bool changed = build.contains("cpuid") || build.contains("cpuid_legacy");
    if (auto features = changed ? most_cpu_features() : cpu_features(std::nullopt); features)
        description["cpu_features"] = std::move(*features);
    else
        log::warning(features.error().text() + "; CPU features are not compared");
}

/// All that could appear under the guest, whatever libxl makes of an older one.
RegisterBits XenDestination::hide_features(const Json& source)
{
    cpu_features_.reset();
    const auto most = most_cpu_features();
    auto usual = cpu_features(std::nullopt);
    const auto seen = source.find("cpu_features");
    if (!most || !usual || seen == source.end())
        return {};
    auto hidden = features_to_hide(*seen, *most);
    cpu_features_ = without_features(std::move(*usual), hidden);
    return hidden;
}

void XenDestination::set_memory(uint64_t bytes)
{
    layout_ = ram_layout(bytes, config_.guest.config);
    ram_.clear();
    ram_.push_back({.name = "pc.ram", .size = bytes, .backing_page = ram_page_size, .file = {}});
}

Status XenDestination::expect_guest(const Json& source, uint64_t ram)
{
    if (json_string(source, "kind") == "xen")
        return fail(ErrorKind::Refused, "guests go from Xen to Xen by xl migrate");
    if (const auto reasons = not_for_xen(source); !reasons.empty())
        return fail(ErrorKind::Incompatible, "the guest cannot run on Xen: " + joined(reasons));
    return derives_ ? derive(source, ram) : check_layout(source, layout_);
}

/// Waits for xl, at a time when nothing is under way. The administrator may want to give a
/// configuration as a file that was refused like this.
Status XenDestination::derive(const Json& source, uint64_t ram)
{
    auto guest = announced_guest(source, ram);
    if (!guest)
        return pass(guest);
    guest->hidden_features = hide_features(source);
    const GuestConfig derived = guest_config(*guest, config_.local);
    log::info("the guest's configuration, by what its source says:\n" + derived.text);
    if (!derived.open.empty())
        return std::unexpected(derived.open.front());
    auto config = read_xl_text(derived.text);
    auto read = config ? guest_of_config(std::move(*config)) : pass(config);
    if (!read)
        return pass(read);
    if (Status free = check_identity_here(*read); !free)
        return free;
    config_.guest = std::move(*read);
    config_.vcpus = guest->vcpus;
    config_.early = model_can_wait(config_.guest.config);
    set_memory(config_.guest.memory);
    return check_layout(source, layout_);
}

void XenDestination::describe(std::function<void(Result<Json>)> done)
{
    Json description{
        {"kind", "xen"},
        {"version", ""},
        {"arch", "x86_64"},
        {"machine", "pc-i440fx"},
        {"accelerator", "xen"},
        {"cpus", config_.vcpus},
        {"memory", layout_.size},
        {"ram_below_4g", layout_.low},
        {"devices", devices_of_arguments(config_.guest.config.value("b_info", Json::object()))},
    };
    add_cpu(description);
    loop::post(
        [done = std::move(done), description = std::move(description)] { done(description); });
}

} // namespace drover::xen
