// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/model.h"

#include "migration/ram/ram_block.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

namespace drover {

namespace {

constexpr double whole_page = ram_page_size;
/// What deltas cost to find, before a round has shown it, and from when on they are reckoned with.
constexpr double usual_encoding_s = 5e-6;
constexpr double encoded_part = 0.75;
/// What compressing is reckoned with before the start, as the sender weighs it
/// (session/encoding_model.h): seconds a byte, of both ends; what it makes of a page that the
/// sample's compressor brings to 1; and the part of the time for whole pages that it must beat.
struct Codec {
    double s_per_byte;
    double size;
};
constexpr std::array usual_codecs{Codec{5e-9, 1.3}, Codec{10e-9, 1}}; // LZ4, zstd
constexpr double worthwhile_part = 0.92;
/// Rounds of fewer pages say little about what one costs.
constexpr uint64_t telling_pages = 1000;

/// Each round weighs this much of the one after it.
constexpr double ageing = 0.6;
/// Older rounds weigh nothing any more.
constexpr size_t remembered_rounds = 24;
/// Before anything is known of the exponent: nearly fresh memory, which errs to the safe side.
constexpr double usual_exponent = 0.85;
constexpr double usual_exponent_weight = 0.15;
constexpr double least_exponent = 0.05;
/// Rounds shorter than this say little about the link: their time is mostly latency.
constexpr double telling_round_s = 0.02;
constexpr double telling_bytes = 1 << 20;

std::span<const RoundStats> latest_rounds(const MigrationStats& stats)
{
    const std::span<const RoundStats> all = stats.rounds;
    return all.last(std::min(all.size(), remembered_rounds));
}

/// An observation of D(t), as logarithms.
struct Point {
    double log_seconds;
    double log_pages;
    double weight;
};

void add_point(std::vector<Point>& points, double seconds, double pages, double weight)
{
    if (seconds > 0)
        points.push_back({std::log(seconds), std::log(std::max(pages, 1.0)), weight});
}

/// The windows first, the latest round last.
std::vector<Point> observations(const MigrationStats& stats, double exponent)
{
    std::vector<Point> points;
    double weight = 1;
    const auto rounds = latest_rounds(stats);
    for (size_t i = rounds.size(); i-- > 0; weight *= ageing) {
        const RoundStats& round = rounds[i];
        // In the first round pages are exposed only from their sending on: half of it on average.
        const double exposed = round.round == 1 ? 1 + exponent : 1;
        add_point(points, round.seconds * (1 - round.slowdown),
                  static_cast<double>(round.pages_dirty) * exposed, weight);
    }
    for (const DirtyWindow& window : stats.windows)
        add_point(points, window.seconds, static_cast<double>(window.pages), weight);
    return points;
}

struct Line {
    double slope;
    double offset;
};

/// Least squares in logarithms; the slope leans to the usual one as far as little is known of it.
Line fit(const std::vector<Point>& points)
{
    double weight = 0, x = 0, y = 0;
    for (const Point& point : points) {
        weight += point.weight;
        x += point.weight * point.log_seconds;
        y += point.weight * point.log_pages;
    }
    x /= weight;
    y /= weight;
    double xx = usual_exponent_weight;
    double xy = usual_exponent_weight * usual_exponent;
    for (const Point& point : points) {
        xx += point.weight * (point.log_seconds - x) * (point.log_seconds - x);
        xy += point.weight * (point.log_seconds - x) * (point.log_pages - y);
    }
    const double slope = std::clamp(xy / xx, least_exponent, 1.0);
    // Through the latest points rather than through the middle of all: phases change.
    return {slope, y - slope * x};
}

double typical_miss(const std::vector<Point>& points, const Line& line)
{
    double weight = 0, sum = 0;
    for (const Point& point : points) {
        const double miss = point.log_pages - line.offset - line.slope * point.log_seconds;
        weight += point.weight;
        sum += point.weight * miss * miss;
    }
    return std::exp(std::sqrt(sum / weight));
}

} // namespace

DirtyModel DirtyModel::of(const MigrationStats& stats)
{
    DirtyModel model;
    // What the first round sent is not all that a guest may come to use.
    model.ceiling_ = static_cast<double>(stats.pages_total);
    for (const RoundStats& round : latest_rounds(stats))
        model.ceiling_ = std::max(model.ceiling_, static_cast<double>(round.pages_dirty));
    const std::vector<Point> rough = observations(stats, usual_exponent);
    if (rough.empty())
        return model;
    const std::vector<Point> points = observations(stats, fit(rough).slope);
    const Line line = fit(points);
    model.known_ = true;
    model.exponent_ = line.slope;
    model.scale_ = std::exp(line.offset);
    model.spread_ = typical_miss(points, line);
    return model;
}

DirtyModel DirtyModel::scaled(double factor) const
{
    DirtyModel other = *this;
    other.scale_ *= factor;
    return other;
}

double DirtyModel::pages_within(double seconds) const
{
    if (seconds <= 0)
        return 0;
    const double pages = scale_ * std::pow(seconds, exponent_);
    return ceiling_ > 0 ? std::min(pages, ceiling_) : pages;
}

double DirtyModel::left_after(double seconds, bool first) const
{
    return pages_within(seconds) / (first ? 1 + exponent_ : 1);
}

namespace {

/// What a page will take, by the sample of before the start. On a link as fast as this, and faster,
/// deltas are not reckoned with; nor is compression where it takes longer than it saves.
void foretell_pages(LinkModel& link, const PageContents& contents)
{
    constexpr double fast_link = 200e6;
    if (link.bytes_s > fast_link || contents.sampled == 0)
        return;
    double least = worthwhile_part;
    for (const Codec& codec : usual_codecs) {
        const double size = codec.size * contents.compressed;
        const double time = size + codec.s_per_byte * link.bytes_s;
        if (time < least) {
            least = time;
            link.first_page_bytes = size * whole_page;
        }
    }
    link.page_bytes = link.first_page_bytes;
    if (contents.rewritten > 0 && contents.delta < encoded_part)
        link.page_bytes = std::min(link.page_bytes, contents.delta * whole_page);
    if (link.page_bytes < whole_page)
        link.page_cpu_s = usual_encoding_s;
}

/// What a page of the round to come takes, now that the link is known.
void learn_pages(LinkModel& link, const MigrationStats& stats)
{
    if (stats.rounds.empty())
        return foretell_pages(link, stats.contents);
    if (stats.rounds.back().page_bytes <= 0)
        return;
    link.page_bytes = stats.rounds.back().page_bytes;
    if (link.page_bytes > encoded_part * whole_page || link.bytes_s <= 0)
        return;
    link.page_cpu_s = usual_encoding_s;
    const auto rounds = latest_rounds(stats);
    for (auto round = rounds.rbegin(); round != rounds.rend(); ++round) {
        if (!round->held_by_encoding || round->pages_sent < telling_pages)
            continue;
        const double besides = round->link_s() - static_cast<double>(round->bytes) / link.bytes_s;
        link.page_cpu_s = std::max(besides, 0.0) / static_cast<double>(round->pages_sent);
        return;
    }
}

} // namespace

LinkModel LinkModel::of(const MigrationStats& stats)
{
    LinkModel link;
    double weight = 0, sum = 0, squares = 0, bytes = 0, seconds = 0, age = 1;
    const auto rounds = latest_rounds(stats);
    const bool all_held =
        std::ranges::all_of(rounds, [](const RoundStats& round) { return round.held_by_encoding; });
    for (auto round = rounds.rbegin(); round != rounds.rend(); ++round) {
        if (round->held_by_encoding && !all_held) // else it is the best that is known
            continue;
        bytes += static_cast<double>(round->bytes);
        seconds += round->link_s();
        if (round->link_s() < telling_round_s || static_cast<double>(round->bytes) < telling_bytes)
            continue;
        const double rate = static_cast<double>(round->bytes) / round->link_s();
        if (link.latest == 0)
            link.latest = rate;
        const double own = age * std::min(1.0, round->link_s()); // a long round knows more
        weight += own;
        sum += own * rate;
        squares += own * rate * rate;
        age *= ageing;
    }
    link.set_level(weight, sum, squares);
    if (weight == 0) { // short rounds only, or none
        link.bytes_s = seconds > 0 && bytes > 0 ? bytes / seconds : stats.link_bytes_s;
        link.low = link.latest = link.bytes_s;
    }
    learn_pages(link, stats);
    return link;
}

/// The weighted mean of the rounds' rates, and what a deviation makes of it.
void LinkModel::set_level(double weight, double sum, double squares)
{
    if (weight == 0)
        return;
    bytes_s = sum / weight;
    const double variance = std::max(0.0, squares / weight - bytes_s * bytes_s);
    low = std::max(bytes_s - std::sqrt(variance), bytes_s / 4);
    dropped = latest < bytes_s / 2;
}

double LinkModel::pages_s() const
{
    return bytes_s > 0 ? 1 / seconds_for(1, bytes_s) : 0;
}

double LinkModel::seconds_for(double pages, double carried_bytes_s) const
{
    return pages * (page_bytes / carried_bytes_s + page_cpu_s);
}

Prediction predict(const DirtyModel& dirty, const LinkModel& link, const Situation& now,
                   double slowdown)
{
    constexpr unsigned most_rounds = 64;
    constexpr double gain = 0.97; // a round that leaves more than this part gained nothing
    Prediction result;
    double left = now.pages_left;
    if (link.bytes_s <= 0)
        return result;
    for (bool first = now.first_round; result.rounds < most_rounds; first = false) {
        const double copy_s = left / (first ? link.first_pages_s() : link.pages_s());
        result.downtime_s = copy_s + now.handover_s;
        result.fits = !first && result.downtime_s <= now.downtime_s;
        const double next = dirty.left_after(copy_s * (1 - slowdown), first);
        if (result.fits || (!first && next > gain * left))
            break;
        ++result.rounds;
        result.seconds += copy_s;
        result.bytes += left * (first ? link.first_page_bytes : link.page_bytes);
        left = next;
    }
    result.seconds += result.downtime_s;
    result.bytes += left * link.page_bytes;
    return result;
}

} // namespace drover
