// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace drover {

/// Goes through a JSON text once and makes no tree of it: for long texts of which the reader knows
/// what it wants. Of a text that nobody vouches for: once something is not JSON nothing more is
/// taken, every object and array is at its end, and status() tells where it was.
class JsonCursor {
public:
    /// The text must outlive what is taken of it.
    explicit JsonCursor(std::string_view text) : text_(text) {}

    [[nodiscard]] const Status& status() const { return status_; }
    /// Goes into the object, or the array, that comes next. False if something else comes, which
    /// stays.
    [[nodiscard]] bool begin_object() { return begin('{'); }
    [[nodiscard]] bool begin_array() { return begin('['); }
    /// In an object: the next member's key, before its value. False at the object's end, behind it.
    [[nodiscard]] bool next_member(std::string_view& key);
    /// In an array: whether another element comes. False at the array's end, behind it.
    [[nodiscard]] bool next_element() { return !ends(']'); }
    /// What comes next, which is taken. Nothing if it is something else, which is passed over.
    [[nodiscard]] std::optional<std::string_view> text();
    [[nodiscard]] std::optional<uint64_t> number(); ///< an integer that is not below 0
    void skip();
    /// After the outermost value: an error if there is anything else.
    void expect_end();
    /// Texts with escapes, which had to be written anew: what was taken may be one of them. They
    /// stay where they are in memory.
    [[nodiscard]] std::deque<std::string> take_rewritten() { return std::move(rewritten_); }

private:
    [[nodiscard]] bool begin(char bracket);
    [[nodiscard]] bool ends(char bracket);
    /// The next character but white space, which stays; 0 at the end, and once something was wrong.
    [[nodiscard]] char peek();
    [[nodiscard]] std::string_view quoted();
    [[nodiscard]] std::string_view plain(); ///< a number, or true, false, null
    [[nodiscard]] std::optional<uint64_t> digits();
    [[nodiscard]] std::string_view rewrite(std::string_view token);
    void skip(int depth);
    void wrong(const char* what);

    std::string_view text_;
    size_t at_ = 0;
    bool fresh_ = false; ///< right behind a bracket: no comma before what comes
    std::deque<std::string> rewritten_;
    Status status_;
};

} // namespace drover
