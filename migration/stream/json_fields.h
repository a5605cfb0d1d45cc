// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace drover::stream {

/// Reads the members of one untrusted JSON object. The first thing that is wrong is kept as an
/// error (kind Protocol) that names the member's path; the readers then return empty values, so
/// that a caller reads all it wants and asks once, at the end, whether all was well.
class JsonFields {
public:
    /// `value` must outlive this; anything but an object is an error.
    JsonFields(const Json& value, std::string path);

    /// Present and an object or list; else an empty one.
    [[nodiscard]] const Json& object(const char* key);
    [[nodiscard]] const Json& list(const char* key, size_t smallest, size_t largest);

    [[nodiscard]] bool boolean(const char* key);
    [[nodiscard]] uint64_t number(const char* key, uint64_t smallest, uint64_t largest);
    /// 1 to `largest` bytes without control characters.
    [[nodiscard]] std::string text(const char* key, size_t largest);

    void fail(const char* key, const std::string& why);
    /// Takes over an error of something within this object.
    void fail(std::optional<Error> error);

    [[nodiscard]] const std::optional<Error>& error() const { return error_; }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    [[nodiscard]] const Json* member(const char* key, bool (Json::*is_type)() const noexcept,
                                     const char* type);

    const Json& object_;
    std::string path_;
    std::optional<Error> error_;
};

} // namespace drover::stream
