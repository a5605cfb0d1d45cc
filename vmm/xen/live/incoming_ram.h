// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_mapping.h"

#include <memory>

namespace drover::xen {

/// A guest's RAM of which it is known only when its first page may come where it goes to.
class IncomingRam : public RamMapping {
public:
    struct Target {
        std::shared_ptr<RamMapping> ram; ///< set before the threads that write are given their work
    };
    explicit IncomingRam(std::shared_ptr<const Target> target) : target_(std::move(target)) {}

    [[nodiscard]] size_t write(size_t block, uint64_t offset,
                               std::span<const std::byte> from) override
    {
        return target_->ram ? target_->ram->write(block, offset, from) : 0;
    }
    [[nodiscard]] bool discard(size_t block, uint64_t offset, uint64_t length) override
    {
        return target_->ram && target_->ram->discard(block, offset, length);
    }
    [[nodiscard]] bool is_new() const override { return true; }

private:
    std::shared_ptr<const Target> target_;
};

} // namespace drover::xen
