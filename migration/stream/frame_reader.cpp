// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame_io.h"

namespace drover::stream {

Result<ConnectionRole> FrameReader::read_preamble()
{
    PreambleBytes bytes;
    if (auto read = channel_.read_exact(bytes); !read)
        return pass(read);
    return decode_preamble(bytes);
}

Result<const Frame*> FrameReader::read(std::optional<FrameType> only)
{
    HeaderBytes bytes;
    if (auto read = channel_.read_exact(bytes); !read)
        return pass(read);
    auto header = decode_header(bytes);
    if (!header)
        return pass(header);
    if (auto expected = check_sequence(*header, sequence_); !expected)
        return pass(expected);
    if (only && header->type != *only)
        return out_of_place(header->type);
    const std::span<std::byte> payload = buffer_.prepare(header->payload_size);
    if (auto read = channel_.read_exact(payload); !read)
        return pass(read);
    if (auto whole = check_payload(*header, payload); !whole)
        return pass(whole);
    ++sequence_;
    frame_ = {*header, payload};
    return &frame_;
}

} // namespace drover::stream
