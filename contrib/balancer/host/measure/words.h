// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

/// Taking the kernel's text files apart without allocating.
namespace drover::balancer::measure {

/// Removes the first line from `text`, and returns it without its newline.
inline std::string_view take_line(std::string_view& text)
{
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    return line;
}

/// Removes the first word from `line`; empty at its end.
inline std::string_view take_word(std::string_view& line)
{
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    const std::string_view word = line.substr(0, line.find_first_of(" \t"));
    line.remove_prefix(word.size());
    return word;
}

/// The whole word as a number, or nothing.
template <typename Number> std::optional<Number> to_number(std::string_view word)
{
    Number value = {};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size())
        return std::nullopt;
    return value;
}

/// Takes a word that is a natural number; if it is none, `ok` becomes false.
inline uint64_t take_u64(std::string_view& line, bool& ok)
{
    const auto value = to_number<uint64_t>(take_word(line));
    ok = ok && value;
    return value.value_or(0);
}

} // namespace drover::balancer::measure
