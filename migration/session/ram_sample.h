// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/page_digests.h"
#include "migration/ram/ram_block.h"
#include "migration/session/ram_stripe.h"

#include <functional>
#include <span>
#include <vector>

namespace drover {

/// So many pages at most are looked at, of each channel: a small part of a pause.
inline constexpr uint64_t looked_at_pages = 256;

/// Looks at pages of the stripes, spread over them by chance (all, where they are few), whether
/// each is what was noted last; `passes_over` says which ones cannot be. Fails (Machine), naming
/// the page.
[[nodiscard]] Status
look_at_sample(std::span<const RamBlock> ram, const PageDigests& digests,
               std::span<const Stripe> stripes,
               const std::function<bool(size_t block, uint64_t page)>& passes_over);

} // namespace drover
