// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <linux/userfaultfd.h>

namespace drover {

/// Protects the range against writing (UFFDIO_WRITEPROTECT_MODE_WP), or lets it be written (0). If
/// the range has left the userfaultfd, whoever waits there may go on: nothing is protected any
/// more.
[[nodiscard]] Status set_protection(int userfaultfd, uffdio_range range, uint64_t mode);

/// Moves a part of a mapping from one userfaultfd to another; nothing of it is protected then.
[[nodiscard]] Status hand_over(uffdio_range range, int from, int to);

} // namespace drover
