// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

/// Drover migration stream, format 1: the frame. The specification is docs/stream-format.md.
/// Everything is little-endian. The header lies outside the payload that it checks.
namespace drover::stream {

/// The preamble, 16 bytes: eight of magic, then the format's number (u32) and the role of the
/// connection (u32, ConnectionRole). Who opens a connection sends it first of all; who accepts it
/// sends one (with role Control) only to say why it does not accept the other's.
inline constexpr std::array<unsigned char, 8> magic = {'D', 'R', 'O', 'V', 'E', 'R', '\r', '\n'};
inline constexpr uint32_t format_version = 1;
inline constexpr size_t preamble_size = 16;

enum class ConnectionRole : uint32_t {
    Control = 1, ///< the first connection of a session
    Data = 2,    ///< RAM; names its session in a Join frame
    Ask = 3,     ///< "what became of session T?" after a break at the switchover
    Tunnel = 4,  ///< the only connection there is (fd:); carries all others
    Probe = 5,   ///< what are you like, and the link to you? For a forecast
};

/// Wire numbers: frozen, never reused.
enum class FrameType : uint16_t {
    Hello = 1,        ///< control, source → destination: JSON
    Welcome = 2,      ///< control, destination → source: JSON; the destination accepts
    Refuse = 3,       ///< either: JSON {kind, message, hint}; the connection ends
    Join = 4,         ///< data, source → destination: Join
    Pages = 5,        ///< data: Pages
    RoundEnd = 6,     ///< data: RoundEnd; follows the last Pages frame of a round on each channel
    RoundAck = 7,     ///< control, destination → source: RoundEnd, once all channels ended it
    DeviceHeader = 8, ///< control, source → destination: JSON that describes the device state
    DeviceData = 9,   ///< control, source → destination: opaque bytes
    DeviceEnd = 10,   ///< control, source → destination: DeviceEnd
    Ready = 11,      ///< control, destination → source: empty; all is loaded, the guest is paused
    Commit = 12,     ///< control or ask, source → destination: empty; the guest is yours
    Running = 13,    ///< control or ask, destination → source: empty; the commit is carried out
    Abort = 14,      ///< either: JSON {kind, message, hint}; the migration is over, nothing moved
    Ping = 15,       ///< control, either: u64 cookie
    Pong = 16,       ///< control, either: the same cookie
    Ask = 17,        ///< ask, source → destination: the session's token (16 bytes)
    Outcome = 18,    ///< ask, destination → source: Outcome (u32)
    TunnelOpen = 19, ///< tunnel, source → destination: u32 stream
    TunnelData = 20, ///< tunnel, either: u32 stream, bytes
    TunnelClose = 21, ///< tunnel, either: u32 stream; no more data comes from this side
    Arrived = 22,     ///< as Running, but the guest was left paused there (paused before, or -S)
    // Post-copy, with the feature "postcopy"; postcopy.h has the payloads.
    Missing = 23,        ///< data, source → destination; control, after Resume, the other way
    MissingEnd = 24,     ///< control, destination → source, after Resume: u64 pages in all
    PageRequest = 25,    ///< control, destination → source: these are waited for
    PagesPlaced = 26,    ///< control, destination → source: u64 payload bytes of Pages, so far
    AllHere = 27,        ///< control, destination → source: empty; no page is missing any more
    Resume = 28,         ///< ask, source → destination: empty; this is the control connection now
    ProbeInfo = 29,      ///< probe, destination → source: JSON {software, no_postcopy, judges}
    ProbeData = 30,      ///< probe, source → destination: any bytes; answered by PagesPlaced
    ProbeHello = 31,     ///< probe, source → destination: JSON, as Hello; nothing comes of it
    ProbeJudgement = 32, ///< probe, destination → source: JSON {state-form, blocks, warnings}
    ResumePoint = 33,    ///< ask, destination → source, after Resume: ResumePoint (resume.h)
    RamDigest = 34,      ///< data: u64 sum, before the last RoundEnd, with the feature "ram-digest"
};

/// What a destination says of a session when it is asked.
enum class Outcome : uint32_t {
    Unknown = 0,   ///< no such session here, and it can never run here
    NotReady = 1,  ///< it was given up before it was ready; it will not run here
    Ready = 2,     ///< all is loaded; it waits for Commit or Abort
    Committed = 3, ///< the guest is the destination's
    Postcopy = 4,  ///< it is the destination's, and needs pages that only the source has
    Arrived =
        5, ///< it is the destination's, paused, and has not run there (feature arrived-outcome)
    Receiving = 6, ///< its RAM is still to come: the source may go on (feature resume-copy)
};

inline constexpr size_t header_size = 32;

/// Caps on what one frame may make a receiver allocate.
inline constexpr uint32_t max_json_payload = 1U << 20;
inline constexpr uint32_t max_device_payload = 1U << 20;
inline constexpr uint32_t max_pages_payload = 4U << 20;
inline constexpr uint32_t max_missing_payload = 8 + 72 * 4096; ///< of 8 GiB of RAM
inline constexpr uint32_t max_tunnel_payload = 4 + (256U << 10);
inline constexpr uint32_t min_resume_payload = 24 + 8;
inline constexpr uint32_t max_resume_payload = 24 + 8 * 64;

struct FrameHeader {
    FrameType type{};
    uint16_t flags = 0;        ///< 0 in format 1; anything else is refused
    uint32_t payload_size = 0; ///< bytes
    uint64_t sequence = 0;     ///< counts the frames of this direction of this connection from 0
    uint64_t payload_checksum = 0; ///< XXH3-64 of the payload, seed 0

    friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

using HeaderBytes = std::array<std::byte, header_size>;
using PreambleBytes = std::array<std::byte, preamble_size>;

[[nodiscard]] PreambleBytes encode_preamble(ConnectionRole role);
/// Says in words whether a stranger (what it looks like: HTTP, TLS, a stock QEMU stream "QEVM", …)
/// or another format's version is at the other end.
[[nodiscard]] Result<ConnectionRole>
decode_preamble(std::span<const std::byte, preamble_size> bytes);
[[nodiscard]] bool begins_with_magic(std::span<const std::byte, preamble_size> bytes);
/// The error for a peer whose first bytes are not a Drover's.
[[nodiscard]] Error not_drover(std::span<const std::byte> first_bytes);
/// What the first bytes of a connection (any number of them) look like, if they are not a Drover
/// preamble: "an HTTP client", "a stock QEMU", … or the bytes themselves.
[[nodiscard]] std::string describe_stranger(std::span<const std::byte> first_bytes);

/// The header's own checksum (low 64 bits of XXH3-64 over its first 24 bytes) is its last field.
[[nodiscard]] HeaderBytes encode_header(const FrameHeader& header);
/// Checks the checksum, the type, the flags and the payload's size against what that type allows.
[[nodiscard]] Result<FrameHeader> decode_header(std::span<const std::byte, header_size> bytes);

[[nodiscard]] uint64_t payload_checksum(std::span<const std::byte> payload);
/// As above for a payload in pieces, e.g. a table and pages.
[[nodiscard]] uint64_t payload_checksum(std::span<const std::span<const std::byte>> pieces);
[[nodiscard]] Status check_payload(const FrameHeader& header, std::span<const std::byte> payload);

/// Whether the frame is the next one of its direction of its connection.
[[nodiscard]] Status check_sequence(const FrameHeader& header, uint64_t expected);

/// The largest payload that a frame of this type may have, bytes; 0 for an unknown type.
[[nodiscard]] uint32_t payload_cap(FrameType type);

/// "Hello", "Pages", …; "unknown" for a number that is none of ours.
[[nodiscard]] const char* frame_name(FrameType type);
/// The error for a frame whose type may not come on this connection, or not now.
[[nodiscard]] std::unexpected<Error> out_of_place(FrameType type);

} // namespace drover::stream
