// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "vmm/xen/guest/incoming_name.h"
#include "vmm/xen/state/xen_save.h"

#include <optional>

namespace drover::xen {

/// The right to take in a guest of that name on this host, which one process has at a time, for as
/// long as it holds this: a domain of its incoming name that comes about meanwhile is its own.
/// Refused where there is such a domain already. Waits for xl.
[[nodiscard]] Result<UniqueFd> claim_incoming(const XenGuest& guest);
/// Neither its name nor its UUID may be those of a domain that is here: Xen's tools find a domain's
/// entries by them. Waits for xl.
[[nodiscard]] Status check_identity_here(const XenGuest& guest);
[[nodiscard]] Status pause_incoming(const XenGuest& guest);

/// xl has died before it was to run the guest: what it has left is destroyed, if it is that domain
/// (where its number was known). The guest must be claimed.
void destroy_incoming(const XenGuest& guest, std::optional<uint32_t> id = std::nullopt);

/// xl has died when it was to run the guest: whether it does is seen by the domain itself. One that
/// stands still is destroyed, so that the source's copy is the only one; then, `how`.
[[nodiscard]] Status judge_domain(const XenGuest& guest, const Error& how);

} // namespace drover::xen
