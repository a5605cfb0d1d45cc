// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace drover::balancer {

/// A domain, as Xen tells of it.
struct XenDomainFacts {
    uint32_t id = 0; ///< 0: Dom0
    std::string name;
    std::string uuid;
    bool hvm = false;
    bool paused = false;
    bool suspended = false; ///< for a migration or a file: it runs on only if somebody lets it
    bool dying = false;     ///< it runs no more, and is about to be gone
    unsigned vcpus = 0;     ///< online
    uint64_t cpu_ns = 0;    ///< that its vCPUs ran since it was made
    double memory = 0;      ///< bytes that it has
    pid_t model = 0;        ///< its device model's process in Dom0; 0: none is known
    std::vector<std::string> vifs;

    /// Whether its guest runs, as far as Xen is asked.
    [[nodiscard]] bool runs() const { return !paused && !suspended && !dying; }
};

/// What `drover-xen watch` tells at a time.
struct XenFacts {
    double time = 0;               ///< seconds of the monotonic clock
    double cores = 0;              ///< processors that are online
    std::vector<uint64_t> idle_ns; ///< of each processor that may be, since Xen's start
    double memory = 0;             ///< bytes, of the machine
    double free = 0;               ///< bytes that no domain has, or was promised
    std::vector<XenDomainFacts> domains;

    /// By its name, which xl keeps unique. Null if there is none, or it is dying.
    [[nodiscard]] const XenDomainFacts* find(const std::string& name) const;
};

/// All or nothing.
[[nodiscard]] Result<XenFacts> parse_xen_facts(const Json& json);

} // namespace drover::balancer
