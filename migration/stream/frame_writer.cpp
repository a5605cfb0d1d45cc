// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame_io.h"

namespace drover::stream {

namespace {

iovec as_iovec(std::span<const std::byte> bytes)
{
    return {const_cast<std::byte*>(bytes.data()), bytes.size()}; // only ever read
}

} // namespace

Status FrameWriter::write_preamble(ConnectionRole role)
{
    const PreambleBytes bytes = encode_preamble(role);
    const iovec piece = as_iovec(bytes);
    return channel_.write_all({&piece, 1});
}

Status FrameWriter::write(FrameType type, std::span<const std::span<const std::byte>> pieces)
{
    pieces_.assign(1, iovec{});
    size_t size = 0;
    for (const auto piece : pieces) {
        size += piece.size();
        if (!piece.empty())
            pieces_.push_back(as_iovec(piece));
    }
    if (size > payload_cap(type))
        return fail(ErrorKind::Invalid, std::string("a ") + frame_name(type) + " frame of " +
                                            std::to_string(size) +
                                            " bytes is larger than the format allows");
    const HeaderBytes header =
        encode_header({type, 0, static_cast<uint32_t>(size), sequence_, payload_checksum(pieces)});
    pieces_.front() = as_iovec(header);
    ++sequence_;
    return channel_.write_all(pieces_);
}

Status FrameWriter::write(FrameType type, std::span<const std::byte> payload)
{
    return write(type, {&payload, 1});
}

} // namespace drover::stream
