// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/messages.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What source and destination say of themselves before anything moves: the Hello and Welcome
/// frames' JSON (docs/stream-format.md). Pure functions; from_json() trusts nothing. Members that
/// are not known are ignored: whatever must be understood is a mandatory feature.
namespace drover::stream {

/// Names of features: frozen, never given another meaning.
namespace feature {
inline constexpr std::string_view raw_pages = "raw-pages";   ///< PageEncoding::Raw
inline constexpr std::string_view zero_pages = "zero-pages"; ///< PageEncoding::Zero
inline constexpr std::string_view hole_pages = "hole-pages"; ///< PageEncoding::Hole
/// The device state is a blob that only the same kind of hypervisor can load.
inline constexpr std::string_view device_state_opaque = "device-state-opaque";
/// The device state is the neutral one, and not that blob. Optional; agreed on only where the blob
/// could not be loaded.
inline constexpr std::string_view device_state_neutral = "device-state-neutral";
/// The destination answers Ask connections after a break at the switchover.
inline constexpr std::string_view commit_ask = "commit-ask";
/// The guest may run at the destination before all of its RAM is there. Optional.
inline constexpr std::string_view postcopy = "postcopy";
/// A guest that arrived paused can be given back until it is first run there. Optional.
inline constexpr std::string_view give_back = "give-back";
/// Whether a guest arrived paused is also told to a source that has to ask. Optional.
inline constexpr std::string_view arrived_outcome = "arrived-outcome";
/// Both sides keep a digest of RAM, and compare it before the guest may run elsewhere. Optional.
inline constexpr std::string_view ram_digest = "ram-digest";
/// A copy whose link broke goes on over another one. Optional.
inline constexpr std::string_view resume_copy = "resume-copy";
/// Encodings that save bytes, each optional (page_encoding.h).
inline constexpr std::string_view repeated_pages = "repeated-pages"; ///< PageEncoding::Repeated
inline constexpr std::string_view lz4_pages = "lz4-pages";           ///< PageEncoding::Lz4
inline constexpr std::string_view zstd_pages = "zstd-pages";         ///< PageEncoding::Zstd
inline constexpr std::string_view delta_pages = "delta-pages";       ///< PageEncoding::Delta
} // namespace feature

/// All that this release knows, and those of them that it cannot do without.
[[nodiscard]] std::span<const std::string_view> known_features();
[[nodiscard]] std::span<const std::string_view> needed_features();

inline constexpr size_t max_ram_blocks = 4096;
inline constexpr size_t max_features = 256; ///< of each sort
inline constexpr uint32_t max_channels = 64;
inline constexpr size_t max_name = 255;         ///< bytes: RAM block, software
inline constexpr size_t max_feature_name = 64;  ///< bytes, of a-z, 0-9 and '-'
inline constexpr uint64_t max_ram = 1ULL << 52; ///< bytes, all blocks together

struct RamBlockInfo {
    std::string name;
    uint64_t size = 0;      ///< bytes, a multiple of the page size
    uint64_t page_size = 0; ///< bytes, a power of two from 4,096 to 1 GiB: of the memory behind it

    friend bool operator==(const RamBlockInfo&, const RamBlockInfo&) = default;
};

struct Hello {
    SessionToken session{};
    std::string software; ///< "drover 0.1.0", for people
    std::vector<std::string> mandatory_features;
    std::vector<std::string> optional_features;
    uint32_t channels = 1;         ///< data connections that the source would open
    Json machine = Json::object(); ///< the hypervisor's description of itself; opaque here
    std::vector<RamBlockInfo> ram; ///< Pages frames name blocks by their index in this list
    Json policy = Json::object();
    bool resume_guest = true; ///< the guest runs after the switchover (it was not paused by a user)

    [[nodiscard]] Json to_json() const;
    [[nodiscard]] static Result<Hello> from_json(const Json& value);
    friend bool operator==(const Hello&, const Hello&) = default;
};

struct Welcome {
    std::string software;
    std::vector<std::string> features; ///< accepted ones
    uint32_t channels = 1;             ///< at most the hello's
    Json machine = Json::object();
    std::string no_postcopy; ///< why that was not accepted, in words for people; may be empty

    [[nodiscard]] Json to_json() const;
    [[nodiscard]] static Result<Welcome> from_json(const Json& value);
    friend bool operator==(const Welcome&, const Welcome&) = default;
};

/// Destination: what both sides know, mandatory ones first; each name once. Incompatible, naming
/// them, if mandatory ones are not among the supported.
[[nodiscard]] Result<std::vector<std::string>>
agree_features(const Hello& hello, std::span<const std::string_view> supported);

/// Source: whether the welcome is an answer to this hello.
[[nodiscard]] Status check_welcome(const Hello& hello, const Welcome& welcome);

[[nodiscard]] std::string token_to_hex(const SessionToken& token);
/// Exactly 32 lower-case hexadecimal digits.
[[nodiscard]] Result<SessionToken> token_from_hex(std::string_view text);

} // namespace drover::stream
