// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::qemu {

/// "1.5G", "0x20", "64": bytes. Suffixes B K M G T P E (powers of 1024, either case);
/// `default_suffix` applies where the text ends in a digit.
[[nodiscard]] Result<uint64_t> parse_size(std::string_view text, char default_suffix = 'B');

/// on/off, yes/no, true/false, y/n.
[[nodiscard]] std::optional<bool> parse_bool(std::string_view text);

/// One option's argument in either of QEMU's syntaxes: "key=value,flag,noflag,text=a,,b", whose
/// first key may be implied, or a JSON object. Writes back what it read, in the same syntax, but
/// for what was changed.
class Opts {
public:
    struct Item {
        std::string key;
        std::string value; ///< a bare "flag" reads as "on", a bare "noflag" as flag=off
    };

    /// `implied_key` (may be empty) names a first item that has no "=".
    [[nodiscard]] static Result<Opts> parse(std::string_view text, std::string_view implied_key);

    [[nodiscard]] bool is_json() const { return json_.has_value(); }

    /// The last value given for `key`; JSON scalars as text ("on"/"off" for booleans).
    [[nodiscard]] std::optional<std::string> get(std::string_view key) const;
    [[nodiscard]] bool has(std::string_view key) const { return get(key).has_value(); }
    [[nodiscard]] Result<bool> get_bool(std::string_view key, bool fallback) const;
    /// Bytes; nothing where the key is absent.
    [[nodiscard]] Result<std::optional<uint64_t>> get_size(std::string_view key,
                                                           char default_suffix = 'B') const;
    /// Each key with its value, in order; in JSON, of the scalars only.
    [[nodiscard]] std::vector<Item> items() const;

    /// Replaces the (last) value in its place, or appends. In JSON the value becomes a string, or
    /// with set_size and set_bool a number or boolean.
    void set(std::string_view key, std::string value);
    void set_size(std::string_view key, uint64_t bytes);
    void set_bool(std::string_view key, bool value);
    void remove(std::string_view key);

    [[nodiscard]] std::string text() const;

private:
    struct Piece {
        Item item;
        std::string written; ///< as the user wrote it; empty once changed
    };
    std::vector<Piece> pieces_;
    std::optional<Json> json_;

    void put(std::string_view key, std::string value, Json json_value);
};

/// Doubles the commas of a value, as the syntax wants it.
[[nodiscard]] std::string escape_commas(std::string_view value);

} // namespace drover::qemu
