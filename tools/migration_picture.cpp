// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/migration_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <vector>

namespace drover::tools {

namespace {

constexpr double width = 960, left = 90, right = 30;
constexpr double pages_top = 90, pages_height = 150;
constexpr double link_top = 290, link_height = 70;
constexpr double words_top = 410, line_height = 18;
constexpr size_t most_rounds = 100'000;
constexpr size_t most_words = 40;

struct Bar {
    double start = 0; ///< seconds since the first round
    double seconds = 0;
    double sent = 0; ///< pages
    double left = 0; ///< pages
    double bytes = 0;
    double slowdown = 0; ///< percent
    bool paused = false;
};

double number(const Json& object, const char* key)
{
    const auto found = object.find(key);
    const double value = found != object.end() && found->is_number() ? found->get<double>() : 0;
    return std::isfinite(value) && value > 0 ? value : 0;
}

std::vector<Bar> read_bars(const Json& rounds)
{
    std::vector<Bar> bars;
    double time = 0;
    for (const Json& round : rounds) {
        if (!round.is_object() || bars.size() >= most_rounds)
            break;
        Bar bar;
        bar.start = time;
        bar.seconds = number(round, "seconds");
        bar.sent = number(round, "sent-pages");
        bar.left = number(round, "dirty-pages");
        bar.bytes = number(round, "bytes");
        bar.slowdown = number(round, "slowdown");
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

std::string words(double x, double y, const char* style, const std::string& text)
{
    return format("<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style) + escaped(text) + "</text>\n";
}

std::string box(double x, double y, double w, double h, const char* colour)
{
    return format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x,
                  y, std::max(w, 0.6), h, colour);
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
    std::string svg = words(left, pages_top - 14, "font-weight=\"bold\"",
                            "pages: sent by the round (blue), left by it (red); root scale");
    const double base = pages_top + pages_height;
    for (const Bar& bar : bars) {
        const double x = axis.x(bar.start), w = axis.x(bar.start + bar.seconds) - x;
        svg += box(x, base - height(bar.sent), w * 0.96, height(bar.sent),
                   bar.paused ? "#1a365d" : "#90cdf4");
        svg += box(x + w * 0.8, base - height(bar.left), w * 0.16, height(bar.left), "#e53e3e");
    }
    svg +=
        words(left - 8, pages_top + 10, "text-anchor=\"end\" fill=\"#555\"", format("%.0f", most));
    return svg + words(left - 8, base, "text-anchor=\"end\" fill=\"#555\"", "0");
}

std::string draw_link(const std::vector<Bar>& bars, const TimeAxis& axis)
{
    double most = 1;
    for (const Bar& bar : bars)
        if (bar.seconds > 0.01)
            most = std::max(most, bar.bytes / bar.seconds);
    std::string svg = words(left, link_top - 14, "font-weight=\"bold\"",
                            "link, MB/s (green); slow-down of the guest, percent (orange)");
    const double base = link_top + link_height;
    for (const Bar& bar : bars) {
        const double x = axis.x(bar.start), w = axis.x(bar.start + bar.seconds) - x;
        if (bar.seconds > 0.01) {
            const double h = bar.bytes / bar.seconds / most * link_height;
            svg += box(x, base - h, w, h, "#9ae6b4");
        }
        if (bar.slowdown > 0)
            svg +=
                box(x, base - std::min(bar.slowdown, 100.0) / 100 * link_height, w, 3, "#dd6b20");
    }
    svg += words(left - 8, link_top + 10, "text-anchor=\"end\" fill=\"#555\"",
                 format("%.0f", most / 1e6));
    return svg + words(left - 8, base, "text-anchor=\"end\" fill=\"#555\"", "0");
}

std::string draw_axis(const TimeAxis& axis)
{
    const double y = link_top + link_height + 16;
    std::string svg;
    for (int tick = 0; tick <= 4; ++tick)
        svg += words(axis.x(axis.seconds * tick / 4), y, "text-anchor=\"middle\" fill=\"#555\"",
                     format("%.2f s", axis.seconds * tick / 4));
    return svg;
}

/// Never in the middle of a character.
std::string shortened(std::string text)
{
    constexpr size_t most = 160;
    if (text.size() <= most)
        return text;
    size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
        --end;
    text.resize(end);
    return text;
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
    if (const double total = number(own, "total"); total > 0)
        text += format(": %.2f s", total);
    if (const double downtime = number(own, "downtime"); downtime > 0)
        text +=
            format(", downtime %.1f ms (predicted %.1f, wished %.0f)", downtime * 1e3,
                   number(own, "predicted-downtime") * 1e3, number(own, "wished-downtime") * 1e3);
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
               "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" "
               "height=\"100%%\" fill=\"#fff\"/>\n",
               width, words_top + line_height * static_cast<double>(lines.size() + 1));
    svg += words(left, 34, "font-size=\"17\" font-weight=\"bold\"", headline(info, *own));
    svg += draw_pages(bars, axis) + draw_link(bars, axis) + draw_axis(axis);
    for (size_t i = 0; i < lines.size(); ++i)
        svg += words(left, words_top + line_height * static_cast<double>(i + 1),
                     "font-size=\"11\" fill=\"#333\"", lines[i]);
    return svg + "</svg>\n";
}

} // namespace drover::tools
