// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/opts.h"

#include <cctype>
#include <charconv>
#include <cmath>

namespace drover::qemu {

namespace {

constexpr std::string_view size_suffixes = "BKMGTPE";

std::unexpected<Error> bad_size(std::string_view text)
{
    return fail(ErrorKind::Invalid, "'" + std::string(text) + "' is not a size",
                "sizes look like 512M, 1.5G or 0x20000000");
}

std::string json_text(const Json& value)
{
    if (value.is_string())
        return value.get<std::string>();
    if (value.is_boolean())
        return value.get<bool>() ? "on" : "off";
    return value.dump();
}

bool is_scalar(const Json& value)
{
    return value.is_string() || value.is_number() || value.is_boolean();
}

/// Reads up to the next single comma; a double one stands for a comma.
std::string take_value(std::string_view text, size_t& at)
{
    std::string value;
    for (; at < text.size(); ++at) {
        if (text[at] == ',') {
            if (at + 1 >= text.size() || text[at + 1] != ',')
                break;
            ++at;
        }
        value += text[at];
    }
    return value;
}

Opts::Item bare_item(std::string_view key)
{
    const bool negated = key.size() > 2 && key.starts_with("no");
    return {std::string(negated ? key.substr(2) : key), negated ? "off" : "on"};
}

} // namespace

Result<uint64_t> parse_size(std::string_view text, char default_suffix)
{
    std::string_view digits = text;
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    char suffix = default_suffix;
    if (text.empty())
        return bad_size(text);
    const char last = static_cast<char>(std::toupper(static_cast<unsigned char>(text.back())));
    // In a hexadecimal number B and E are digits.
    if (hex ? std::isxdigit(static_cast<unsigned char>(last)) == 0
            : std::isdigit(static_cast<unsigned char>(last)) == 0) {
        suffix = last;
        digits.remove_suffix(1);
    } else if (std::isdigit(static_cast<unsigned char>(last)) == 0) {
        suffix = 'B';
    }
    const size_t power = size_suffixes.find(suffix);
    if (power == std::string_view::npos || digits.empty())
        return bad_size(text);
    const uint64_t unit = 1ULL << (10 * power);
    const char* end = digits.data() + digits.size();

    uint64_t whole = 0;
    const auto integer = std::from_chars(digits.data() + (hex ? 2 : 0), end, whole, hex ? 16 : 10);
    if (integer.ec != std::errc{} || whole > UINT64_MAX / unit)
        return bad_size(text);
    if (integer.ptr == end)
        return whole * unit;

    double fraction = 0;
    const std::string tail = "0" + std::string(integer.ptr, end); // ".5" as "0.5"
    const auto rest =
        std::from_chars(tail.data(), tail.data() + tail.size(), fraction, std::chars_format::fixed);
    if (hex || *integer.ptr != '.' || rest.ec != std::errc{} ||
        rest.ptr != tail.data() + tail.size())
        return bad_size(text);
    return whole * unit + static_cast<uint64_t>(fraction * static_cast<double>(unit));
}

std::optional<bool> parse_bool(std::string_view text)
{
    for (const char* yes : {"on", "yes", "true", "y"})
        if (text == yes)
            return true;
    for (const char* no : {"off", "no", "false", "n"})
        if (text == no)
            return false;
    return std::nullopt;
}

std::string escape_commas(std::string_view value)
{
    std::string escaped;
    for (const char c : value) {
        escaped += c;
        if (c == ',')
            escaped += c;
    }
    return escaped;
}

Result<Opts> Opts::parse(std::string_view text, std::string_view implied_key)
{
    Opts opts;
    if (text.starts_with('{')) {
        opts.json_ = Json::parse(text, nullptr, false);
        if (!opts.json_->is_object())
            return fail(ErrorKind::Invalid, "not a JSON object: " + std::string(text));
        return opts;
    }
    for (size_t at = 0; at < text.size(); ++at) {
        const size_t start = at;
        const size_t key_end = std::min(text.find_first_of("=,", at), text.size());
        const std::string_view key = text.substr(at, key_end - at);
        Item item;
        if (key_end < text.size() && text[key_end] == '=') {
            at = key_end + 1;
            item = {std::string(key), take_value(text, at)};
        } else if (start == 0 && !implied_key.empty()) {
            item = {std::string(implied_key), take_value(text, at)};
        } else {
            at = key_end;
            item = bare_item(key);
        }
        if (at > start)
            opts.pieces_.push_back({std::move(item), std::string(text.substr(start, at - start))});
    }
    return opts;
}

std::optional<std::string> Opts::get(std::string_view key) const
{
    if (json_) {
        const auto found = json_->find(key);
        if (found == json_->end() || !is_scalar(*found))
            return std::nullopt;
        return json_text(*found);
    }
    for (auto piece = pieces_.rbegin(); piece != pieces_.rend(); ++piece)
        if (piece->item.key == key)
            return piece->item.value;
    return std::nullopt;
}

Result<bool> Opts::get_bool(std::string_view key, bool fallback) const
{
    const auto value = get(key);
    if (!value)
        return fallback;
    if (const auto parsed = parse_bool(*value))
        return *parsed;
    return fail(ErrorKind::Invalid, std::string(key) + "=" + *value + " is neither on nor off");
}

Result<std::optional<uint64_t>> Opts::get_size(std::string_view key, char default_suffix) const
{
    const auto value = get(key);
    if (!value)
        return std::optional<uint64_t>();
    auto size = parse_size(*value, default_suffix);
    if (!size)
        return std::unexpected(std::move(size.error()).in(key));
    return std::optional<uint64_t>(*size);
}

std::vector<Opts::Item> Opts::items() const
{
    std::vector<Item> items;
    if (json_) {
        for (const auto& [key, value] : json_->items())
            if (is_scalar(value))
                items.push_back({key, json_text(value)});
        return items;
    }
    for (const Piece& piece : pieces_)
        items.push_back(piece.item);
    return items;
}

void Opts::put(std::string_view key, std::string value, Json json_value)
{
    if (json_) {
        (*json_)[std::string(key)] = std::move(json_value);
        return;
    }
    for (auto piece = pieces_.rbegin(); piece != pieces_.rend(); ++piece) {
        if (piece->item.key == key) {
            *piece = {{std::string(key), std::move(value)}, {}};
            return;
        }
    }
    pieces_.push_back({{std::string(key), std::move(value)}, {}});
}

void Opts::set(std::string_view key, std::string value)
{
    Json json_value = value;
    put(key, std::move(value), std::move(json_value));
}

void Opts::set_size(std::string_view key, uint64_t bytes)
{
    put(key, std::to_string(bytes), bytes);
}

void Opts::set_bool(std::string_view key, bool value)
{
    put(key, value ? "on" : "off", value);
}

void Opts::remove(std::string_view key)
{
    if (json_)
        json_->erase(std::string(key));
    else
        std::erase_if(pieces_, [&](const Piece& piece) { return piece.item.key == key; });
}

std::string Opts::text() const
{
    if (json_)
        return json_->dump(-1, ' ', false, Json::error_handler_t::replace);
    std::string text;
    for (const Piece& piece : pieces_) {
        if (!text.empty())
            text += ',';
        text += piece.written.empty() ? piece.item.key + "=" + escape_commas(piece.item.value)
                                      : piece.written;
    }
    return text;
}

} // namespace drover::qemu
