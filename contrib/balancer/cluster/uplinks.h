// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/load/load.h"

/// A host's networks, as the judge is told of them. The judge knows one network of a host: the
/// fullest of its uplinks. Their sum would hide a small one that is full behind a large one that is
/// idle.
namespace drover::balancer::cluster {

/// The fullest of those whose capacity is known, null if there is none. It stays the one that it
/// was (`before`, a name) unless another is fuller by a tenth, so that it does not change with each
/// sample.
[[nodiscard]] const NicLoad* fullest_uplink(const HostLoad& load, const std::string& before);

/// Bytes/s of the link that migrations take; 0: unknown.
[[nodiscard]] double migration_link(const HostLoad& load);

/// Whether our migrations' traffic is part of what this uplink carries, as far as is known.
[[nodiscard]] bool carries_migrations(const HostLoad& load, const NicLoad& uplink);

/// Whether what a guest sends counts on this uplink: it leaves by it, or nobody knows, or the guest
/// lacks what it was promised, which its own link tells.
[[nodiscard]] bool counts_on(const VmNicLoad& nic, const HostLoad& load, const std::string& uplink);

} // namespace drover::balancer::cluster
