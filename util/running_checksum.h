// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct XXH3_state_s;

namespace drover {

/// XXH3-64 (seed 0) over data that passes by in pieces.
class RunningChecksum {
public:
    RunningChecksum();
    ~RunningChecksum();
    RunningChecksum(RunningChecksum&&) noexcept = default;
    RunningChecksum& operator=(RunningChecksum&&) noexcept = default;

    void add(std::span<const std::byte> data);
    [[nodiscard]] uint64_t digest() const; ///< of all that was added so far

private:
    struct Free {
        void operator()(XXH3_state_s* state) const;
    };
    std::unique_ptr<XXH3_state_s, Free> state_;
};

} // namespace drover
