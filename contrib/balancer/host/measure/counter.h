// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>

namespace drover::balancer::measure {

/// A number of the kernel's that only grows. If it shrinks (it wrapped, or the thing that counts
/// was made anew) that sample's growth is not known, and is 0.
class Counter {
public:
    /// Growth since the call before; 0 at the first.
    [[nodiscard]] uint64_t grow(uint64_t now)
    {
        const uint64_t before = last_.value_or(now);
        last_ = now;
        return now > before ? now - before : 0;
    }

    /// As grow(), by the second. `elapsed` in seconds.
    [[nodiscard]] double rate(uint64_t now, double elapsed)
    {
        const auto growth = static_cast<double>(grow(now));
        return elapsed > 0 ? growth / elapsed : 0;
    }

private:
    std::optional<uint64_t> last_;
};

} // namespace drover::balancer::measure
