// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/resume.h"
#include "migration/stream/hello.h"
#include "migration/stream/little_endian.h"

#include <algorithm>

namespace drover::stream {

namespace {
constexpr size_t fixed_size = 24;
} // namespace

Bytes encode(const ResumePoint& value)
{
    Bytes out(value.join.begin(), value.join.end());
    append_le(out, value.round);
    append_le(out, static_cast<uint32_t>(value.frames.size()));
    for (const uint64_t frames : value.frames)
        append_le(out, frames);
    return out;
}

Result<ResumePoint> decode_resume_point(std::span<const std::byte> payload)
{
    if (payload.size() < fixed_size)
        return fail(ErrorKind::Protocol, "a ResumePoint frame has a wrong size");
    ResumePoint value;
    std::copy_n(payload.begin(), value.join.size(), value.join.begin());
    LeReader reader(payload.subspan(value.join.size()));
    value.round = reader.take<uint32_t>();
    const auto channels = reader.take<uint32_t>();
    if (channels == 0 || channels > max_channels ||
        reader.rest().size() != channels * sizeof(uint64_t))
        return fail(ErrorKind::Protocol, "a ResumePoint frame tells of " +
                                             std::to_string(channels) + " channels in " +
                                             std::to_string(payload.size()) + " bytes");
    for (uint32_t i = 0; i < channels; ++i)
        value.frames.push_back(reader.take<uint64_t>());
    return value;
}

} // namespace drover::stream
