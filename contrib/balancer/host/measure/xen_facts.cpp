// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/xen_facts.h"

#include <algorithm>

namespace drover::balancer {

namespace {

std::unexpected<Error> not_told(const char* what)
{
    return fail(ErrorKind::Invalid, std::string("drover-xen does not tell ") + what,
                "droverd and drover-xen must be of one version");
}

Result<XenDomainFacts> domain_facts(const Json& json)
{
    if (!json.is_object() || !json.contains("id") || !json.contains("cpu"))
        return not_told("which domain it means");
    XenDomainFacts domain;
    domain.id = static_cast<uint32_t>(json_u64(json, "id"));
    domain.name = json_string(json, "name");
    domain.uuid = json_string(json, "uuid");
    domain.hvm = json_bool(json, "hvm");
    domain.paused = json_bool(json, "paused");
    domain.suspended = json_bool(json, "suspended");
    domain.dying = json_bool(json, "dying");
    domain.vcpus = static_cast<unsigned>(json_u64(json, "vcpus"));
    domain.cpu_ns = json_u64(json, "cpu");
    domain.memory = json_quantity(json, "memory");
    domain.model = static_cast<pid_t>(std::min<uint64_t>(json_u64(json, "model"), INT32_MAX));
    if (const auto vifs = json.find("vifs"); vifs != json.end() && vifs->is_array())
        for (const Json& vif : *vifs)
            if (vif.is_string())
                domain.vifs.push_back(vif.get<std::string>());
    return domain;
}

} // namespace

const XenDomainFacts* XenFacts::find(const std::string& name) const
{
    const auto found = std::find_if(domains.begin(), domains.end(), [&name](const auto& domain) {
        return domain.name == name && !domain.dying && domain.id != 0;
    });
    return found == domains.end() ? nullptr : &*found;
}

Result<XenFacts> parse_xen_facts(const Json& json)
{
    const auto idle = json.find("idle");
    const auto domains = json.find("domains");
    if (!json.is_object() || idle == json.end() || !idle->is_array() || domains == json.end() ||
        !domains->is_array())
        return not_told("of the host");
    XenFacts facts;
    facts.time = json_quantity(json, "time");
    facts.cores = json_quantity(json, "cores");
    facts.memory = json_quantity(json, "memory");
    facts.free = json_quantity(json, "free");
    if (facts.cores < 1 || facts.memory <= 0)
        return not_told("of the host");
    for (const Json& time : *idle) {
        if (!time.is_number_unsigned())
            return not_told("how long its processors were idle");
        facts.idle_ns.push_back(time.get<uint64_t>());
    }
    for (const Json& entry : *domains) {
        auto domain = domain_facts(entry);
        if (!domain)
            return pass(domain);
        facts.domains.push_back(std::move(*domain));
    }
    return facts;
}

} // namespace drover::balancer
