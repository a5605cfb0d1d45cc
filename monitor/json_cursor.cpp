// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/json_cursor.h"

#include "monitor/json.h"

#include <algorithm>
#include <charconv>

namespace drover {

namespace {

constexpr int deepest_skipped = 64; // levels

bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/// Whether it stands in a text as it is meant: no escape, and one byte.
bool is_plain(char c)
{
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte < 0x80 && c != '\\' && c != '"';
}

bool ends_plain_value(char c)
{
    return is_space(c) || c == '\0' || c == ',' || c == ']' || c == '}' || c == ':';
}

} // namespace

void JsonCursor::wrong(const char* what)
{
    if (status_)
        status_ = fail(ErrorKind::Protocol,
                       std::string("not JSON at byte ") + std::to_string(at_) + ": " + what);
    text_ = {};
    at_ = 0;
}

char JsonCursor::peek()
{
    while (at_ < text_.size() && is_space(text_[at_]))
        ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
}

bool JsonCursor::begin(char bracket)
{
    if (peek() != bracket)
        return false;
    ++at_;
    fresh_ = true;
    return true;
}

bool JsonCursor::ends(char bracket)
{
    const bool is_first = std::exchange(fresh_, false);
    const char c = peek();
    if (c == bracket) {
        ++at_;
        return true;
    }
    if (is_first && c != '\0')
        return false;
    if (c == ',') {
        ++at_;
        if (peek() != bracket) // which would be left as a value that is none
            return false;
    }
    wrong("neither a comma nor an end");
    return true;
}

bool JsonCursor::next_member(std::string_view& key)
{
    if (ends('}'))
        return false;
    if (peek() != '"')
        wrong("a member without a name");
    else
        key = quoted();
    if (peek() != ':')
        wrong("a member without a value");
    else
        ++at_;
    return status_.has_value();
}

/// From its quotation mark on.
std::string_view JsonCursor::quoted()
{
    const size_t begin = at_ + 1;
    size_t end = begin;
    while (end < text_.size() && is_plain(text_[end]))
        ++end;
    if (end < text_.size() && text_[end] == '"') {
        at_ = end + 1;
        return text_.substr(begin, end - begin);
    }
    while (end < text_.size() && text_[end] != '"')
        end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) {
        wrong("a text without an end");
        return {};
    }
    const std::string_view token = text_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    return rewrite(token);
}

/// Escapes, and what has to be UTF-8, as everywhere.
std::string_view JsonCursor::rewrite(std::string_view token)
{
    const auto value = parse_json(token);
    if (!value || !value->is_string()) {
        wrong("a text that is none");
        return {};
    }
    return rewritten_.emplace_back(value->get_ref<const std::string&>());
}

std::string_view JsonCursor::plain()
{
    const size_t begin = at_;
    while (at_ < text_.size() && !ends_plain_value(text_[at_]))
        ++at_;
    return text_.substr(begin, at_ - begin);
}

std::optional<std::string_view> JsonCursor::text()
{
    if (peek() == '"') {
        const std::string_view taken = quoted();
        return status_ ? std::optional(taken) : std::nullopt;
    }
    skip();
    return std::nullopt;
}

/// Nothing, and nothing is taken, if it is no plain integer.
std::optional<uint64_t> JsonCursor::digits()
{
    const char first = peek();
    if (first < '0' || first > '9')
        return std::nullopt;
    const size_t before = at_;
    const std::string_view token = plain();
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
    const bool has_form = first != '0' || token.size() == 1;
    if (error == std::errc() && end == token.data() + token.size() && has_form)
        return value;
    at_ = before;
    return std::nullopt;
}

std::optional<uint64_t> JsonCursor::number()
{
    const auto value = digits();
    if (!value)
        skip();
    return value;
}

void JsonCursor::skip()
{
    skip(0);
}

void JsonCursor::skip(int depth)
{
    std::string_view key;
    if (depth > deepest_skipped)
        return wrong("nested too deep");
    if (begin_object()) {
        while (next_member(key))
            skip(depth + 1);
    } else if (begin_array()) {
        while (next_element())
            skip(depth + 1);
    } else if (peek() == '"') {
        (void)quoted();
    } else if (!digits()) { // and what is rare
        if (const auto value = parse_json(plain()); !value || value->is_structured())
            wrong("a value that is none");
    }
}

void JsonCursor::expect_end()
{
    if (status_ && peek() != '\0')
        wrong("more than one value");
    else if (status_ && at_ < text_.size())
        wrong("a character that is none");
}

} // namespace drover
