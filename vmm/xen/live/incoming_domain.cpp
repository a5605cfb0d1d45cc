// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/incoming_domain.h"

#include "util/log.h"
#include "vmm/xen/live/xen_domain.h"
#include "vmm/xen/live/xl_tool.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <sstream>
#include <sys/socket.h>
#include <sys/un.h>

namespace drover::xen {

namespace {

/// A name that the kernel forgets with the process (unix(7), abstract sockets); longer ones are
/// cut, so that at worst two of them wait for each other.
Result<UniqueFd> hold_name(const std::string& name)
{
    UniqueFd held(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!held)
        return fail_errno("making a socket", errno);
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    const size_t length = std::min(name.size(), sizeof address.sun_path - 1);
    std::copy_n(name.begin(), length, &address.sun_path[1]);
    if (bind(held.get(), reinterpret_cast<const sockaddr*>(&address),
             static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length)) == 0)
        return held;
    if (errno != EADDRINUSE)
        return fail_errno("claiming the name " + name, errno);
    return fail(ErrorKind::Refused, "another drover-xen takes in this guest now",
                "wait for its end, or end it");
}

} // namespace

Result<UniqueFd> claim_incoming(const XenGuest& guest)
{
    auto held = hold_name("drover-xen/incoming/" + guest.name);
    const auto found = held ? look_for_domain(incoming_name(guest.name)) : pass(held);
    if (!found)
        return std::unexpected(found.error());
    if (*found)
        return fail(ErrorKind::Refused,
                    "this host has a domain " + incoming_name(guest.name) + " already",
                    "another migration is under way, or was broken off: once the guest is seen to "
                    "run at its source, xl destroy " +
                        incoming_name(guest.name));
    return held;
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
        if (name == guest.name || name == incoming_name(guest.name))
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
    auto id = domain_id(incoming_name(guest.name));
    auto domain = id ? XenDomain::open(*id) : pass(id);
    return domain ? (*domain)->pause() : Status(pass(domain));
}

void destroy_incoming(const XenGuest& guest, std::optional<uint32_t> id)
{
    const auto found = look_for_domain(incoming_name(guest.name));
    if (!found || !*found || (id && **found != *id))
        return;
    if (auto destroyed = run_xl({"destroy", std::to_string(**found)}); !destroyed)
        log::error("the domain " + incoming_name(guest.name) +
                   " is left, and cannot be destroyed: " + destroyed.error().text());
}

Status judge_domain(const XenGuest& guest, const Error& how)
{
    for (const std::string& name : {guest.name, incoming_name(guest.name)}) {
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
