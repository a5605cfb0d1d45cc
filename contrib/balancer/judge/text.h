// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/amount.h"

#include <string>

namespace drover::balancer {

/// "1.5 cores", "3.2 GiB", "120 MB/s".
[[nodiscard]] std::string text_of(Resource resource, double value);
[[nodiscard]] std::string percent(double part); ///< 0.5: "50 %"
[[nodiscard]] std::string seconds_text(double seconds);
[[nodiscard]] std::string rate_text(double bytes_s);
/// "processor", "memory", "network (to its guests)", "network (from its guests)".
[[nodiscard]] std::string_view words_of(Resource resource);

} // namespace drover::balancer
