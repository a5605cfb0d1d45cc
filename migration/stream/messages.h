// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame.h"
#include "migration/stream/page_encoding.h"
#include "monitor/json.h"
#include "util/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

/// The payloads of the frames. Encoders and decoders are pure; decoders trust nothing and check
/// every length, but not whether a block or page exists: the receiver of pages does that.
namespace drover::stream {

using Bytes = std::vector<std::byte>;
using SessionToken = std::array<std::byte, 16>; ///< random, chosen by the source

/// Names a data connection's session and its index (0 … channels-1).
struct Join {
    SessionToken token{};
    uint32_t index = 0;

    friend bool operator==(const Join&, const Join&) = default;
};

/// The page sizes, in bytes, that a block may have: those of x86.
inline constexpr uint32_t smallest_page = 4096;
inline constexpr uint32_t largest_page = 1U << 30;

/// A run of pages of equal encoding.
struct PageRun {
    uint64_t first_page = 0; ///< index within the block
    uint32_t count = 0;      ///< pages, ≥ 1
    PageEncoding encoding = PageEncoding::Raw;

    friend bool operator==(const PageRun&, const PageRun&) = default;
};

/// A Pages frame: u32 block, u32 round, u32 page size, u32 number of runs; the runs' table (16
/// bytes each: u64 first page, u32 count, u8 encoding, 3 zero bytes); the runs' data, a section for
/// each encoding. At least one run.
struct PagesTable {
    uint32_t block = 0; ///< index into the hello's list of RAM blocks
    uint32_t round = 0;
    uint32_t page_size = 0; ///< bytes, a power of two from 4,096 to 1 GiB
    std::vector<PageRun> runs;

    friend bool operator==(const PagesTable&, const PagesTable&) = default;
};
inline constexpr size_t pages_fixed_size = 16;
inline constexpr size_t page_run_size = 16;

/// Writes fixed part and table into `out` (cleared first); the data follows it on the wire.
void encode_pages_table(const PagesTable& table, Bytes& out);

/// What the pages of one frame may decode to, those of raw, zero and hole runs apart: bytes.
inline constexpr uint64_t max_unpacked = 4U << 20;
inline constexpr size_t repeated_word_size = 8;

/// A decoded Pages frame. Its spans point into the payload, one for each section of the data, in
/// this order; their sizes are those that the runs need. Runs do not overflow and are in ascending
/// order without overlap. What is compressed is so still.
struct PagesView {
    PagesTable table;
    std::span<const std::byte> raw;      ///< the raw runs' pages
    std::span<const std::byte> repeated; ///< a word for each page of the repeated runs
    std::span<const std::byte> lz4;      ///< one block for the pages of all such runs, or empty
    std::span<const std::byte> zstd;     ///< one frame for the pages of all such runs, or empty
    std::span<const std::byte> deltas;   ///< a record for each page of the delta runs, all whole
};
/// Refuses runs of encodings that are not `allowed`: not agreed on, or not in this place.
[[nodiscard]] Result<PagesView> decode_pages(std::span<const std::byte> payload,
                                             EncodingSet allowed = plain_encodings);

struct RoundEnd {
    uint32_t round = 0;
    bool last = false; ///< the guest is paused: no round follows

    friend bool operator==(const RoundEnd&, const RoundEnd&) = default;
};

struct DeviceEnd {
    uint64_t total_bytes = 0;
    uint64_t checksum = 0; ///< XXH3-64 of all DeviceData payloads in order

    friend bool operator==(const DeviceEnd&, const DeviceEnd&) = default;
};

[[nodiscard]] Bytes encode(const Join& value);
[[nodiscard]] Bytes encode(const RoundEnd& value);
[[nodiscard]] Bytes encode(const DeviceEnd& value);
[[nodiscard]] Bytes encode_u64(uint64_t value);              ///< Ping, Pong
[[nodiscard]] Bytes encode_u32(uint32_t value);              ///< Outcome
[[nodiscard]] Bytes encode_token(const SessionToken& value); ///< Ask
[[nodiscard]] Bytes encode_json(const Json& value);
[[nodiscard]] Result<Join> decode_join(std::span<const std::byte> payload);
[[nodiscard]] Result<RoundEnd> decode_round_end(std::span<const std::byte> payload);
[[nodiscard]] Result<DeviceEnd> decode_device_end(std::span<const std::byte> payload);
[[nodiscard]] Result<uint64_t> decode_u64(std::span<const std::byte> payload);
[[nodiscard]] Result<uint32_t> decode_u32(std::span<const std::byte> payload);
[[nodiscard]] Result<SessionToken> decode_token(std::span<const std::byte> payload);
/// Also refuses a value that a format-1 destination cannot have meant.
[[nodiscard]] Result<Outcome> decode_outcome(std::span<const std::byte> payload);
/// One JSON object, nothing else.
[[nodiscard]] Result<Json> decode_json(std::span<const std::byte> payload);

/// Refuse and Abort: an error in transit. A malformed one decodes to a Protocol error that says so;
/// a kind that is not known here decodes to Refused. Texts are cut at 2,000 bytes and stripped of
/// control characters: they end in our log.
[[nodiscard]] Json error_to_json(const Error& error);
[[nodiscard]] Error error_from_json(const Json& value);

} // namespace drover::stream
