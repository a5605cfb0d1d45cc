// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_cells.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <glib.h>
#include <numeric>

namespace drover::tools {

namespace {

constexpr unsigned gap = 2;         // between columns
constexpr unsigned least_width = 4; // of a column that had to shrink

/// What is shown as it is: one or two columns, and nothing else happens.
bool is_harmless(gunichar c)
{
    if (c < 0x20 || (c >= 0x7f && c < 0xa0) || g_unichar_iszerowidth(c))
        return false;
    const GUnicodeType type = g_unichar_type(c);
    return type != G_UNICODE_FORMAT && type != G_UNICODE_CONTROL && type != G_UNICODE_SURROGATE &&
           type != G_UNICODE_LINE_SEPARATOR && type != G_UNICODE_PARAGRAPH_SEPARATOR &&
           type != G_UNICODE_UNASSIGNED;
}

unsigned columns_of_character(const char* at)
{
    return g_unichar_iswide(g_utf8_get_char(at)) ? 2 : 1;
}

/// The beginning of clean text that takes at most `width` columns.
std::string_view head(std::string_view text, unsigned width)
{
    size_t size = 0;
    unsigned columns = 0;
    while (size < text.size()) {
        const unsigned more = columns_of_character(text.data() + size);
        if (columns + more > width)
            break;
        columns += more;
        size += static_cast<size_t>(g_utf8_next_char(text.data() + size) - (text.data() + size));
    }
    return text.substr(0, size);
}

std::string print(const char* pattern, double value)
{
    char text[64];
    snprintf(text, sizeof text, pattern, value);
    return text;
}

} // namespace

std::string clean(std::string_view text, bool lines)
{
    std::string out;
    while (!text.empty()) {
        const gunichar c = g_utf8_get_char_validated(text.data(), static_cast<gssize>(text.size()));
        const bool valid = c != static_cast<gunichar>(-1) && c != static_cast<gunichar>(-2);
        const auto size = valid ? static_cast<size_t>(g_unichar_to_utf8(c, nullptr)) : 1;
        if (valid && (is_harmless(c) || (lines && c == '\n')))
            out += text.substr(0, size);
        else
            out += '?';
        text.remove_prefix(std::min(size, text.size()));
    }
    return out;
}

unsigned columns_of(std::string_view text)
{
    unsigned columns = 0;
    for (size_t i = 0; i < text.size();) {
        columns += columns_of_character(text.data() + i);
        i += static_cast<size_t>(g_utf8_next_char(text.data() + i) - (text.data() + i));
    }
    return columns;
}

std::string fit(std::string_view text, unsigned width, bool right)
{
    std::string cut(text);
    if (columns_of(text) > width && width > 0)
        cut = std::string(head(text, width - 1)) + "~";
    const unsigned columns = columns_of(cut);
    const std::string padding(width > columns ? width - columns : 0, ' ');
    return right ? padding + cut : cut + padding;
}

std::string paint(const std::string& text, Colour colour, bool colours)
{
    static constexpr std::array<const char*, 7> codes = {
        "", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m", "\033[36m"};
    if (!colours || colour == Colour::None || text.empty())
        return text;
    return codes.at(static_cast<size_t>(colour)) + text + "\033[0m";
}

std::string share_bar(double share, unsigned width)
{
    const unsigned inner = std::max(width, 3U) - 2;
    const double known = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0;
    const auto filled = static_cast<unsigned>(std::lround(known * inner));
    return "[" + std::string(filled, '#') + std::string(inner - filled, '-') + "]";
}

Colour colour_of_load(double share)
{
    return share >= 0.85 ? Colour::Red : share >= 0.6 ? Colour::Yellow : Colour::Green;
}

std::string percent(double share)
{
    return print("%.0f %%", std::clamp(share, 0.0, 99.99) * 100);
}

std::string bytes_text(double bytes)
{
    static constexpr std::array<const char*, 6> units = {"%.0f B",  "%.0f kB", "%.0f MB",
                                                         "%.1f GB", "%.2f TB", "%.2f PB"};
    size_t unit = 0;
    while (bytes >= 999.5 && unit + 1 < units.size()) {
        bytes /= 1000;
        ++unit;
    }
    return print(units.at(unit), bytes);
}

std::string seconds_text(double seconds)
{
    if (seconds < 1)
        return print("%.0f ms", seconds * 1e3);
    if (seconds < 100)
        return print("%.1f s", seconds);
    if (seconds < 100.0 * 60)
        return print("%.0f min", seconds / 60);
    return seconds < 48.0 * 3600 ? print("%.0f h", seconds / 3600)
                                 : print("%.0f days", seconds / 86400);
}

std::string text_in(const Json& object, const char* key)
{
    return clean(json_string(object, key));
}

const Json& list_in(const Json& object, const char* key)
{
    static const Json none = Json::array();
    const auto found = object.is_object() ? object.find(key) : object.end();
    return found != object.end() && found->is_array() ? *found : none;
}

const Json& object_in(const Json& object, const char* key)
{
    static const Json none = Json::object();
    const auto found = object.is_object() ? object.find(key) : object.end();
    return found != object.end() && found->is_object() ? *found : none;
}

std::vector<unsigned> FleetTable::widths(const FleetView& view) const
{
    std::vector<unsigned> widths;
    widths.reserve(headings_.size());
    for (const std::string& heading : headings_)
        widths.push_back(columns_of(heading) - (heading.starts_with('>') ? 1 : 0));
    for (const auto& row : rows_)
        for (size_t i = 0; i < row.size() && i < widths.size(); ++i)
            widths[i] = std::max(widths[i], columns_of(clean(row[i].text)));
    const auto total = [&] {
        return std::accumulate(widths.begin(), widths.end(), 0U) +
               gap * static_cast<unsigned>(widths.size() - 1);
    };
    while (view.width > 0 && total() > view.width) {
        const auto widest = std::ranges::max_element(widths);
        if (*widest <= least_width)
            break;
        --*widest;
    }
    return widths;
}

std::string FleetTable::draw(const FleetView& view, size_t most) const
{
    const std::vector<unsigned> column_widths = widths(view);
    std::string out;
    const auto draw_row = [&](const auto& cell_at, size_t count) {
        std::string line;
        unsigned columns = 0;
        for (size_t i = 0; i < headings_.size() && i < count; ++i) {
            const bool right = headings_[i].starts_with('>');
            const auto [text, colour] = cell_at(i);
            const unsigned width = column_widths[i];
            if (view.width > 0 && columns + width > view.width)
                break;
            columns += width + gap;
            // The last column of text needs no blanks behind it.
            const bool last = i + 1 == headings_.size() && !right;
            const std::string shown =
                last && columns_of(text) <= width ? text : fit(text, width, right);
            line += (i > 0 ? std::string(gap, ' ') : "") + paint(shown, colour, view.colour);
        }
        out += line + "\n";
    };
    draw_row(
        [&](size_t i) {
            const std::string& heading = headings_[i];
            return FleetTable::Cell{heading.substr(heading.starts_with('>') ? 1 : 0), Colour::Dim};
        },
        headings_.size());
    const size_t shown = most == 0 ? rows_.size() : std::min(most, rows_.size());
    for (size_t i = 0; i < shown; ++i)
        draw_row(
            [&](size_t column) {
                const Cell& cell = rows_[i][column];
                return FleetTable::Cell{clean(cell.text), cell.colour};
            },
            rows_[i].size());
    if (shown < rows_.size())
        out += "... and " + std::to_string(rows_.size() - shown) + " more\n";
    return out;
}

} // namespace drover::tools
