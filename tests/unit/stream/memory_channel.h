// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"
#include "migration/transport/channel.h"

#include <algorithm>

namespace drover::stream {

/// What is written gathers in `out`; what is read comes from `in`, and ends there.
class MemoryChannel : public Channel {
public:
    explicit MemoryChannel(Bytes input = {}) : in(std::move(input)) {}

    Status write_all(std::span<const iovec> pieces) override
    {
        for (const iovec& piece : pieces) {
            const auto* at = static_cast<const std::byte*>(piece.iov_base);
            out.insert(out.end(), at, at + piece.iov_len);
        }
        return {};
    }
    Status read_exact(std::span<std::byte> into) override
    {
        if (into.size() > in.size() - position)
            return fail(ErrorKind::Connection, "the end");
        std::copy_n(in.begin() + static_cast<ptrdiff_t>(position), into.size(), into.begin());
        position += into.size();
        return {};
    }
    void abort() override {}
    uint64_t bytes_written() const override { return out.size(); }

    Bytes out;
    Bytes in;
    size_t position = 0;
};

} // namespace drover::stream
