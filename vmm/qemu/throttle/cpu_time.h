// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <span>
#include <sys/types.h>

namespace drover::qemu {

/// Processor time of these threads of the process so far, seconds.
[[nodiscard]] double ran_s(pid_t process, std::span<const pid_t> threads);

/// Less than this, by the clock, says nothing of a guest's use of the processor.
inline constexpr double telling_cpu_s = 0.1;

} // namespace drover::qemu
