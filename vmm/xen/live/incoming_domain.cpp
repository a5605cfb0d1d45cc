// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/incoming_domain.h"

#include "util/log.h"
#include "vmm/xen/live/xen_domain.h"
#include "vmm/xen/live/xl_tool.h"

#include <sstream>

namespace drover::xen {

std::string incoming_name(const XenGuest& guest)
{
    return guest.name + "--incoming";
}

Status check_identity_here(const XenGuest& guest)
{
    const auto domains = run_xl({"vm-list"}); // a line a domain: its UUID, number and name
    if (!domains)
        return std::unexpected(domains.error());
    std::istringstream lines(*domains);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string uuid;
        std::string number;
        std::string name;
        words >> uuid >> number >> name;
        if (name == guest.name || name == incoming_name(guest))
            return fail(ErrorKind::Refused, "this host has a domain " + name + " already",
                        "give the guest another name at the destination: -name NAME");
        if (!guest.uuid.empty() && uuid == guest.uuid)
            return fail(ErrorKind::Refused,
                        "the domain " + name + " of this host has the guest's UUID",
                        "end it, or give the guest's configuration: -config FILE");
    }
    return {};
}

Status pause_incoming(const XenGuest& guest)
{
    auto id = domain_id(incoming_name(guest));
    auto domain = id ? XenDomain::open(*id) : pass(id);
    return domain ? (*domain)->pause() : Status(pass(domain));
}

void destroy_incoming(const XenGuest& guest, std::optional<uint32_t> id)
{
    const auto found = look_for_domain(incoming_name(guest));
    if (!found || !*found || (id && **found != *id))
        return;
    if (auto destroyed = run_xl({"destroy", std::to_string(**found)}); !destroyed)
        log::error("the domain " + incoming_name(guest) +
                   " is left, and cannot be destroyed: " + destroyed.error().text());
}

Status judge_domain(const XenGuest& guest, const Error& how)
{
    for (const std::string& name : {guest.name, incoming_name(guest)}) {
        const auto found = look_for_domain(name);
        if (!found) { // nobody can tell: rather no copy that runs than two
            log::error("whether the guest is here cannot be seen: " + found.error().text() +
                       "; look for the domain " + name + " before anything is done at the source");
            return {};
        }
        const auto id = *found;
        if (!id)
            continue;
        const auto domain = XenDomain::open(*id);
        const auto info = domain ? (*domain)->info() : std::unexpected(domain.error());
        if (!info || (!info->paused && !info->dying))
            return {}; // it runs, or may
        if (auto destroyed = run_xl({"destroy", std::to_string(*id)}); !destroyed) {
            log::error("the domain " + name +
                       " is here, paused, and cannot be destroyed: " + destroyed.error().text());
            return {}; // rather one copy that stands still than two that run
        }
    }
    return std::unexpected(how);
}

} // namespace drover::xen
