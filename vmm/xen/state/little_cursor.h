// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/little_endian.h"
#include "util/byte_source.h"

#include <algorithm>
#include <array>

namespace drover::xen {

/// Takes little-endian integers from a source, one after another. As of a ByteCursor, all that is
/// taken is zero or empty once something was not there.
class LittleCursor {
public:
    LittleCursor(const ByteSource& source, uint64_t at) : source_(source), at_(at) {}

    [[nodiscard]] uint64_t at() const { return at_; }
    [[nodiscard]] const Status& status() const { return status_; }
    [[nodiscard]] uint64_t left() const { return at_ < source_.size() ? source_.size() - at_ : 0; }

    template <std::unsigned_integral T> [[nodiscard]] T take()
    {
        std::array<std::byte, sizeof(T)> raw = {};
        take_into(raw);
        return stream::load_le<T>(raw.data());
    }
    /// The caller has bounded `size`.
    [[nodiscard]] std::vector<std::byte> bytes(uint64_t size)
    {
        std::vector<std::byte> taken(status_ && size <= left() ? size : 0);
        if (taken.size() == size)
            take_into(taken);
        else
            skip(size);
        return taken;
    }
    void take_into(std::span<std::byte> target)
    {
        if (status_)
            status_ = source_.read(at_, target);
        if (status_)
            at_ += target.size();
        else
            std::ranges::fill(target, std::byte{0});
    }
    void skip(uint64_t size)
    {
        if (status_ && size > left())
            status_ =
                fail(ErrorKind::Protocol,
                     "it ends where more has to come, at byte " + std::to_string(source_.size()),
                     "was it cut off?");
        if (status_)
            at_ += size;
    }

private:
    const ByteSource& source_;
    uint64_t at_;
    Status status_;
};

} // namespace drover::xen
