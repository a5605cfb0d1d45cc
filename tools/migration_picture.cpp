// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/migration_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <vector>

namespace drover::tools {

namespace {

// Of the family of tests/e2e/drover_e2e/svg.py: the same size, margins, colours and type.
constexpr double width = 960, left = 70, right = 24;
constexpr const char *ink = "#1f2933", *faint = "#cbd2d9", *blue = "#2b6cb0", *red = "#c53030",
                     *green = "#2f855a", *orange = "#c05621", *violet = "#6b46c1";
constexpr double small_letter = 11 * 0.62; ///< about a letter's width in small type
constexpr double pages_top = 70, pages_height = 150;
constexpr double link_top = 262, link_height = 70;
constexpr double words_top = 384, line_height = 18;
constexpr size_t most_rounds = 100'000;
constexpr size_t most_words = 40;
constexpr double most_ticks = 12;

struct Bar {
    double start = 0; ///< seconds since the first round
    double seconds = 0;
    double sent = 0; ///< pages
    double left = 0; ///< pages
    double bytes = 0;
    double slowdown = 0; ///< percent
    bool paused = false;
};

std::vector<Bar> read_bars(const Json& rounds)
{
    std::vector<Bar> bars;
    double time = 0;
    for (const Json& round : rounds) {
        if (!round.is_object() || bars.size() >= most_rounds)
            break;
        Bar bar;
        bar.start = time;
        bar.seconds = json_quantity(round, "seconds");
        bar.sent = json_quantity(round, "sent-pages");
        bar.left = json_quantity(round, "dirty-pages");
        bar.bytes = json_quantity(round, "bytes");
        bar.slowdown = json_quantity(round, "slowdown");
        bar.paused = json_bool(round, "guest-paused");
        time += bar.seconds;
        bars.push_back(bar);
    }
    return bars;
}

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, pattern);
    // The analyzer loses sight of va_start when it looks at several files in one run.
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized)
    vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    return text;
}

std::string escaped(const std::string& text)
{
    std::string out;
    for (const char c : text) {
        if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '&')
            out += "&amp;";
        else if (static_cast<unsigned char>(c) >= 0x20)
            out += c;
    }
    return out;
}

struct Style {
    int size = 11;
    const char* anchor = "start";
    const char* weight = "normal";
};
constexpr Style title{16, "start", "bold"};
constexpr Style heading{12, "start", "bold"};
constexpr Style tick{11, "end"};

/// With a white seam, so that no line runs through it.
std::string words(double x, double y, const Style& style, const std::string& text)
{
    return format("<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\" "
                  "font-weight=\"%s\" stroke=\"white\" stroke-width=\"3\" "
                  "stroke-linejoin=\"round\" paint-order=\"stroke\">",
                  x, y, style.size, style.anchor, ink, style.weight) +
           escaped(text) + "</text>\n";
}

std::string box(double x, double y, double w, double h, const char* colour)
{
    return format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" "
                  "fill-opacity=\"0.8\"/>\n",
                  x, y, std::max(w, 0.6), h, colour);
}

/// A line across, with what it stands for.
std::string ruler(double y, const std::string& text)
{
    return format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", left,
                  y, width - right, y, faint) +
           words(left - 8, y + 4, tick, text);
}

struct LegendEntry {
    const char* colour;
    const char* text;
};

/// To the right end of a line.
std::string legend(double y, std::initializer_list<LegendEntry> entries)
{
    std::string svg;
    double end = width - right;
    for (auto entry = std::rbegin(entries); entry != std::rend(entries); ++entry) {
        const double begin = end - small_letter * static_cast<double>(strlen(entry->text));
        svg += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", begin - 8, y - 4,
                      entry->colour);
        svg += words(begin, y, {}, entry->text);
        end = begin - 28;
    }
    return svg;
}

/// 72041 → "72,041"
std::string counted(double number)
{
    std::string text = format("%.0f", number);
    for (size_t at = text.size(); at > 3; at -= 3)
        text.insert(at - 3, 1, ',');
    return text;
}

/// Seconds to the picture's x.
struct TimeAxis {
    double seconds;
    [[nodiscard]] double x(double time) const
    {
        return left + time / seconds * (width - left - right);
    }
};

std::string draw_pages(const std::vector<Bar>& bars, const TimeAxis& axis)
{
    double most = 1;
    for (const Bar& bar : bars)
        most = std::max({most, bar.sent, bar.left});
    // The first round dwarfs the rest: a square root keeps the small ones visible.
    const auto height = [&](double pages) { return std::sqrt(pages / most) * pages_height; };
    const double base = pages_top + pages_height;
    std::string svg = words(left, pages_top - 14, heading, "pages of each round (root scale)");
    svg += legend(pages_top - 14,
                  {{blue, "sent"}, {violet, "sent while the guest stood still"}, {red, "left"}});
    svg += ruler(pages_top, counted(most)) + ruler(base, "0");
    for (const Bar& bar : bars) {
        const double x = axis.x(bar.start), w = axis.x(bar.start + bar.seconds) - x;
        svg +=
            box(x, base - height(bar.sent), w * 0.96, height(bar.sent), bar.paused ? violet : blue);
        svg += box(x + w * 0.8, base - height(bar.left), w * 0.16, height(bar.left), red);
    }
    return svg;
}

std::string draw_link(const std::vector<Bar>& bars, const TimeAxis& axis)
{
    double most = 1;
    for (const Bar& bar : bars)
        if (bar.seconds > 0.01)
            most = std::max(most, bar.bytes / bar.seconds);
    const double base = link_top + link_height;
    std::string svg = words(left, link_top - 14, heading, "link and guest");
    svg += legend(link_top - 14,
                  {{green, "MB/s"}, {orange, "the guest's slow-down, 0 to 100 percent"}});
    svg += ruler(link_top, counted(most / 1e6)) + ruler(base, "0");
    for (const Bar& bar : bars) {
        const double x = axis.x(bar.start), w = axis.x(bar.start + bar.seconds) - x;
        if (bar.seconds > 0.01) {
            const double h = bar.bytes / bar.seconds / most * link_height;
            svg += box(x, base - h, w, h, green);
        }
        if (bar.slowdown > 0)
            svg += box(x, base - std::min(bar.slowdown, 100.0) / 100 * link_height, w, 3, orange);
    }
    return svg;
}

/// Ticks at round numbers of seconds, as many as have room.
std::string draw_axis(const TimeAxis& axis)
{
    double step = 0.001;
    for (int i = 0; axis.seconds / step > most_ticks; ++i)
        step *= i % 3 == 1 ? 2.5 : 2; // 1, 2, 5, 10, …
    std::string svg;
    for (size_t n = 0; static_cast<double>(n) * step <= axis.seconds; ++n) {
        const double time = static_cast<double>(n) * step;
        svg +=
            words(axis.x(time), link_top + link_height + 20, {11, "middle"}, format("%g s", time));
    }
    return svg;
}

/// To what fits into a line; never in the middle of a character.
std::string shortened(std::string text)
{
    constexpr size_t most = 144;
    if (text.size() <= most)
        return text;
    size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
        --end;
    text.resize(end);
    return text + "…";
}

std::vector<std::string> reasons(const Json& own)
{
    std::vector<std::string> list;
    const auto decisions = own.find("decisions");
    if (decisions == own.end() || !decisions->is_array())
        return list;
    for (const Json& decision : *decisions)
        if (decision.is_object())
            list.push_back(shortened(json_string(decision, "reason")));
    if (list.size() > most_words) { // the beginning and the end tell the most
        list.erase(list.begin() + most_words / 2, list.end() - most_words / 2);
        list.insert(list.begin() + most_words / 2, "…");
    }
    return list;
}

std::string headline(const Json& info, const Json& own)
{
    std::string text = json_string(info, "status");
    if (const double total = json_quantity(own, "total"); total > 0)
        text += format(": %.2f s", total);
    if (const double downtime = json_quantity(own, "downtime"); downtime > 0)
        text += format(", downtime %.1f ms (predicted %.1f, wished %.0f)", downtime * 1e3,
                       json_quantity(own, "predicted-downtime") * 1e3,
                       json_quantity(own, "wished-downtime") * 1e3);
    return text;
}

} // namespace

Result<std::string> draw_migration(const Json& info)
{
    const auto own = info.is_object() ? info.find("drover") : info.end();
    if (!info.is_object() || own == info.end() || !own->is_object() || !own->contains("rounds") ||
        !(*own)["rounds"].is_array())
        return fail(ErrorKind::Invalid, "this is no report of a migration",
                    "give the output of \"drover migrate --json\", or what query-migrate returns "
                    "at the source");
    const std::vector<Bar> bars = read_bars((*own)["rounds"]);
    if (bars.empty())
        return fail(ErrorKind::Invalid, "the report has no rounds: nothing was migrated", "");
    const TimeAxis axis{std::max(bars.back().start + bars.back().seconds, 1e-6)};
    const std::vector<std::string> lines = reasons(*own);
    std::string svg =
        format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "font-family=\"sans-serif\">\n<rect width=\"100%%\" height=\"100%%\" "
               "fill=\"white\"/>\n",
               width, words_top + line_height * static_cast<double>(lines.size() + 1));
    svg += words(left, 30, title, headline(info, *own));
    svg += draw_pages(bars, axis) + draw_link(bars, axis) + draw_axis(axis);
    for (size_t i = 0; i < lines.size(); ++i)
        svg += words(left, words_top + line_height * static_cast<double>(i), {}, lines[i]);
    return svg + "</svg>\n";
}

} // namespace drover::tools
