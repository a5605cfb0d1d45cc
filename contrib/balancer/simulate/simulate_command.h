// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <span>

namespace drover::balancer {

/// `drover-balancer simulate`; `words` are those after "simulate". Prints to stdout; returns the
/// exit status.
[[nodiscard]] Result<int> run_simulate(std::span<char*> words);

} // namespace drover::balancer
