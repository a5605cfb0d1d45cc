// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame.h"
#include "migration/stream/little_endian.h"

#include <algorithm>
#include <memory>
#include <xxhash.h>

namespace drover::stream {

namespace {

constexpr size_t checked_header_size = 24; // the header but for its own checksum

struct TypeRule {
    FrameType type;
    const char* name;
    uint32_t smallest; ///< payload bytes
    uint32_t largest;
};

constexpr std::array<TypeRule, 34> rules = {{
    {FrameType::Hello, "Hello", 2, max_json_payload},
    {FrameType::Welcome, "Welcome", 2, max_json_payload},
    {FrameType::Refuse, "Refuse", 2, max_json_payload},
    {FrameType::Join, "Join", 20, 20},
    {FrameType::Pages, "Pages", 32, max_pages_payload},
    {FrameType::RoundEnd, "RoundEnd", 8, 8},
    {FrameType::RoundAck, "RoundAck", 8, 8},
    {FrameType::DeviceHeader, "DeviceHeader", 2, max_json_payload},
    {FrameType::DeviceData, "DeviceData", 1, max_device_payload},
    {FrameType::DeviceEnd, "DeviceEnd", 16, 16},
    {FrameType::Ready, "Ready", 0, 0},
    {FrameType::Commit, "Commit", 0, 0},
    {FrameType::Running, "Running", 0, 0},
    {FrameType::Arrived, "Arrived", 0, 0},
    {FrameType::Abort, "Abort", 2, max_json_payload},
    {FrameType::Ping, "Ping", 8, 8},
    {FrameType::Pong, "Pong", 8, 8},
    {FrameType::Ask, "Ask", 16, 16},
    {FrameType::Outcome, "Outcome", 4, 4},
    {FrameType::TunnelOpen, "TunnelOpen", 4, 4},
    {FrameType::TunnelData, "TunnelData", 5, max_tunnel_payload},
    {FrameType::TunnelClose, "TunnelClose", 4, 4},
    {FrameType::Missing, "Missing", 80, max_missing_payload},
    {FrameType::MissingEnd, "MissingEnd", 8, 8},
    {FrameType::PageRequest, "PageRequest", 16, 16},
    {FrameType::PagesPlaced, "PagesPlaced", 8, 8},
    {FrameType::AllHere, "AllHere", 0, 0},
    {FrameType::Resume, "Resume", 0, 0},
    {FrameType::ProbeInfo, "ProbeInfo", 2, max_json_payload},
    {FrameType::ProbeData, "ProbeData", 1, max_tunnel_payload},
    {FrameType::ProbeHello, "ProbeHello", 2, max_json_payload},
    {FrameType::ProbeJudgement, "ProbeJudgement", 2, max_json_payload},
    {FrameType::ResumePoint, "ResumePoint", min_resume_payload, max_resume_payload},
    {FrameType::RamDigest, "RamDigest", 8, 8},
}};

const TypeRule* find_rule(FrameType type)
{
    const auto at =
        std::find_if(rules.begin(), rules.end(), [&](const TypeRule& r) { return r.type == type; });
    return at == rules.end() ? nullptr : &*at;
}

uint64_t header_checksum(std::span<const std::byte, header_size> bytes)
{
    return XXH3_64bits(bytes.data(), checked_header_size);
}

struct FreeHashState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

} // namespace

HeaderBytes encode_header(const FrameHeader& header)
{
    HeaderBytes bytes;
    store_le(static_cast<uint16_t>(header.type), &bytes[0]);
    store_le(header.flags, &bytes[2]);
    store_le(header.payload_size, &bytes[4]);
    store_le(header.sequence, &bytes[8]);
    store_le(header.payload_checksum, &bytes[16]);
    store_le(header_checksum(bytes), &bytes[checked_header_size]);
    return bytes;
}

Result<FrameHeader> decode_header(std::span<const std::byte, header_size> bytes)
{
    if (load_le<uint64_t>(&bytes[checked_header_size]) != header_checksum(bytes))
        return fail(ErrorKind::Protocol, "a frame's header is damaged: its checksum is wrong",
                    "the data was changed on its way; migrate again");
    FrameHeader header;
    header.type = static_cast<FrameType>(load_le<uint16_t>(&bytes[0]));
    header.flags = load_le<uint16_t>(&bytes[2]);
    header.payload_size = load_le<uint32_t>(&bytes[4]);
    header.sequence = load_le<uint64_t>(&bytes[8]);
    header.payload_checksum = load_le<uint64_t>(&bytes[16]);
    const TypeRule* rule = find_rule(header.type);
    if (!rule)
        return fail(ErrorKind::Protocol, "a frame has the unknown type " +
                                             std::to_string(static_cast<unsigned>(header.type)));
    if (header.flags != 0)
        return fail(ErrorKind::Protocol, std::string("a ") + rule->name +
                                             " frame has the unknown flags " +
                                             std::to_string(header.flags));
    if (header.payload_size < rule->smallest || header.payload_size > rule->largest)
        return fail(ErrorKind::Protocol,
                    std::string("a ") + rule->name + " frame claims a payload of " +
                        std::to_string(header.payload_size) + " bytes; allowed are " +
                        std::to_string(rule->smallest) + " to " + std::to_string(rule->largest));
    return header;
}

uint64_t payload_checksum(std::span<const std::byte> payload)
{
    return XXH3_64bits(payload.data(), payload.size());
}

uint64_t payload_checksum(std::span<const std::span<const std::byte>> pieces)
{
    if (pieces.size() == 1)
        return payload_checksum(pieces.front());
    // The state is large and aligned: one for each sending thread, made once.
    static thread_local const std::unique_ptr<XXH3_state_t, FreeHashState> state(
        XXH3_createState());
    XXH3_64bits_reset(state.get());
    for (const auto piece : pieces)
        XXH3_64bits_update(state.get(), piece.data(), piece.size());
    return XXH3_64bits_digest(state.get());
}

Status check_payload(const FrameHeader& header, std::span<const std::byte> payload)
{
    if (payload.size() == header.payload_size &&
        payload_checksum(payload) == header.payload_checksum)
        return {};
    return fail(ErrorKind::Protocol,
                std::string("the payload of a ") + frame_name(header.type) +
                    " frame is damaged: its checksum is wrong",
                "the data was changed on its way; migrate again");
}

Status check_sequence(const FrameHeader& header, uint64_t expected)
{
    if (header.sequence == expected)
        return {};
    return fail(ErrorKind::Protocol,
                std::string("a ") + frame_name(header.type) + " frame has the number " +
                    std::to_string(header.sequence) + " where " + std::to_string(expected) +
                    " was due: frames were lost, doubled or forged");
}

std::unexpected<Error> out_of_place(FrameType type)
{
    return fail(ErrorKind::Protocol,
                std::string("the peer sent ") + frame_name(type) + " where it has no place");
}

uint32_t payload_cap(FrameType type)
{
    const TypeRule* rule = find_rule(type);
    return rule ? rule->largest : 0;
}

const char* frame_name(FrameType type)
{
    const TypeRule* rule = find_rule(type);
    return rule ? rule->name : "unknown";
}

} // namespace drover::stream
