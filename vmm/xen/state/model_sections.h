// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace drover::xen {

/// A section of the device model's state: QEMU's, without a description.
struct ModelSection {
    uint32_t id = 0;
    std::string name;
    uint32_t instance = 0;
    uint32_t version = 0;
    std::vector<std::byte> bytes;
};

/// Under Xen, QEMU neither tells its sections' lengths nor ends them with a mark. The length of
/// those devices whose state a guest can fill as it likes is known; of the others it is found by
/// the next section's header. What can be read in two ways is refused.
[[nodiscard]] Result<std::vector<ModelSection>> split_model(std::span<const std::byte> bytes);
[[nodiscard]] std::vector<std::byte> join_model(std::span<const ModelSection> sections);

} // namespace drover::xen
