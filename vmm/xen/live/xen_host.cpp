// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_host.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#undef __STRICT_ANSI__ // Xen's headers want GNU's dialect, and do not know of C++
extern "C" {
#include <xenctrl.h>
}

namespace drover::xen {

namespace {

constexpr uint64_t page_bytes = 4096;
constexpr uint32_t domains_at_once = 256;

std::string uuid_text(const xen_domain_handle_t& handle)
{
    std::string text;
    for (size_t i = 0; i < sizeof handle; ++i) {
        std::array<char, 4> pair{};
        snprintf(pair.data(), pair.size(), "%02x", handle[i]);
        text += (i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "") + std::string(pair.data());
    }
    return text;
}

Json state_of(const xc_domaininfo_t& info)
{
    const bool stands = (info.flags & XEN_DOMINF_shutdown) != 0;
    const unsigned why = info.flags >> XEN_DOMINF_shutdownshift & unsigned{XEN_DOMINF_shutdownmask};
    return {{"id", info.domain},
            {"uuid", uuid_text(info.handle)},
            {"hvm", (info.flags & XEN_DOMINF_hvm_guest) != 0},
            {"paused", (info.flags & XEN_DOMINF_paused) != 0},
            {"suspended", stands && why == SHUTDOWN_suspend},
            {"dying", (info.flags & XEN_DOMINF_dying) != 0},
            {"vcpus", info.nr_online_vcpus},
            {"cpu", info.cpu_time},
            {"memory", info.tot_pages * page_bytes}};
}

} // namespace

void XenHost::CloseControl::operator()(xc_interface_core* control) const
{
    xc_interface_close(control);
}

XenHost::XenHost(Control control, std::unique_ptr<XenStore> store)
    : control_(std::move(control)), store_(std::move(store))
{
}

XenHost::~XenHost() = default;

Result<std::unique_ptr<XenHost>> XenHost::open()
{
    Control control(xc_interface_open(nullptr, nullptr, 0));
    if (!control)
        return fail(ErrorKind::System, "Xen cannot be called",
                    "run it as root, in Dom0, with Xen's daemons");
    auto store = XenStore::open();
    if (!store)
        return pass(store);
    return std::unique_ptr<XenHost>(new XenHost(std::move(control), std::move(*store)));
}

Result<Json> XenHost::report()
{
    xc_physinfo_t host{};
    if (xc_physinfo(control_.get(), &host) < 0)
        return fail_errno("asking Xen about its host", errno);
    auto idle = idle_times();
    auto found = idle ? domains() : pass(idle);
    if (!found)
        return found;
    // What is still to be cleaned is as good as free; what was promised to a domain is not.
    const uint64_t there = host.free_pages + host.scrub_pages;
    const uint64_t free = there > host.outstanding_pages ? there - host.outstanding_pages : 0;
    return Json{{"cores", host.nr_cpus},
                {"memory", host.total_pages * page_bytes},
                {"free", free * page_bytes},
                {"idle", std::move(*idle)},
                {"domains", std::move(*found)}};
}

Result<Json> XenHost::idle_times() const
{
    const int most = xc_get_max_cpus(control_.get());
    std::vector<xc_cpuinfo_t> processors(most > 0 ? static_cast<size_t>(most) : 0);
    int count = 0;
    if (most <= 0 || xc_getcpuinfo(control_.get(), most, processors.data(), &count) < 0)
        return fail_errno("asking Xen about its processors", errno);
    Json idle = Json::array();
    for (int i = 0; i < count; ++i)
        idle.push_back(processors[static_cast<size_t>(i)].idletime);
    return idle;
}

Result<Json> XenHost::domains() const
{
    Json list = Json::array();
    std::vector<xc_domaininfo_t> found(domains_at_once);
    for (uint32_t next = 0;;) {
        const int count =
            xc_domain_getinfolist(control_.get(), next, domains_at_once, found.data());
        if (count < 0)
            return fail_errno("asking Xen about its domains", errno);
        for (int i = 0; i < count; ++i) {
            const xc_domaininfo_t& info = found[static_cast<size_t>(i)];
            next = info.domain + 1U;
            Json domain = state_of(info);
            const std::string path = "/local/domain/" + std::to_string(info.domain);
            domain["name"] = store_->read(path + "/name").value_or("");
            domain["vifs"] = vifs(info.domain);
            const auto model = store_->read(path + "/image/device-model-pid").value_or("");
            domain["model"] = std::max(0, atoi(model.c_str()));
            list.push_back(std::move(domain));
        }
        if (count < static_cast<int>(domains_at_once))
            return list;
    }
}

/// The names of its network interfaces on this side; that of the device model's tap ends in "-emu".
Json XenHost::vifs(uint32_t domain) const
{
    Json names = Json::array();
    const std::string path = "/local/domain/0/backend/vif/" + std::to_string(domain);
    for (const std::string& number : store_->list(path))
        names.push_back(store_->read(path + "/" + number + "/vifname")
                            .value_or("vif" + std::to_string(domain) + "." + number));
    return names;
}

} // namespace drover::xen
