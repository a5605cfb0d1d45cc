// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <nlohmann/json.hpp>
#include <string_view>

namespace drover {

using Json = nlohmann::json;

/// Parses one complete JSON text from a peer that is not trusted: nothing throws, nesting deeper
/// than 1,024 is refused (QEMU's own limit). The error says where the text is wrong.
[[nodiscard]] Result<Json> parse_json(std::string_view text);

/// Compact JSON in which bytes that are not UTF-8 are replaced, so that it never throws.
[[nodiscard]] std::string dump_json(const Json& value, bool pretty = false);

/// Member access for untrusted objects: the value if present and of that type, else `fallback`.
[[nodiscard]] std::string json_string(const Json& object, const char* key,
                                      std::string_view fallback = {});
[[nodiscard]] uint64_t json_u64(const Json& object, const char* key, uint64_t fallback = 0);
/// A number that is not below 0, and finite.
[[nodiscard]] double json_quantity(const Json& object, const char* key, double fallback = 0);
[[nodiscard]] bool json_bool(const Json& object, const char* key, bool fallback = false);

} // namespace drover
