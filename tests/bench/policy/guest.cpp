// SPDX-License-Identifier: GPL-2.0-or-later
#include "guest.h"

#include <algorithm>
#include <cmath>

namespace drover::sim {

namespace {

constexpr double pages_a_gib = 262144;

/// So finely is memory cut: a migration sends cell by cell.
constexpr int fine = 24;

Course steady(double level)
{
    return {{{0, level}}, 0};
}

/// Cold memory, which every guest has most of.
void add_cold(Guest& guest, double pages)
{
    for (int i = 0; i < fine / 3; ++i)
        guest.cells.push_back({.pages = pages * 3 / fine});
}

void add_random(Guest& guest, double pages, double writes_a_second)
{
    for (int i = 0; i < fine; ++i)
        guest.cells.push_back({.pages = pages / fine, .rate = writes_a_second / pages});
}

void add_zipf(Guest& guest, double pages, double writes_a_second, double exponent)
{
    // Cells of growing size, from the hottest to the coldest; a cell's share of the writes is the
    // area below rank^-exponent.
    std::vector<double> share;
    std::vector<double> size;
    double sum = 0;
    double rank = 1;
    const double growth = std::pow(pages, 1.0 / fine);
    for (int i = 0; i < fine; ++i) {
        const double next = rank * growth;
        const double power = 1 - exponent;
        const double area = std::abs(power) < 1e-6
                                ? std::log(next / rank)
                                : (std::pow(next, power) - std::pow(rank, power)) / power;
        share.push_back(area);
        size.push_back(next - rank);
        sum += area;
        rank = next;
    }
    for (int i = 0; i < fine; ++i)
        guest.cells.push_back({.pages = size[static_cast<size_t>(i)],
                               .rate = writes_a_second * share[static_cast<size_t>(i)] / sum /
                                       size[static_cast<size_t>(i)]});
}

void add_sweep(Guest& guest, double pages, double pages_a_second)
{
    for (int i = 0; i < fine; ++i)
        guest.cells.push_back({.kind = Cell::Kind::Swept,
                               .pages = pages / fine,
                               .sweep_begin = pages / fine * i,
                               .sweep_pages = pages,
                               .sweep_speed = pages_a_second});
}

} // namespace

double uniform(Random& random, double low, double high)
{
    return low + (high - low) * static_cast<double>(random() >> 11) * 0x1p-53;
}

double log_uniform(Random& random, double low, double high)
{
    return std::exp(uniform(random, std::log(low), std::log(high)));
}

Course::Piece Course::piece_at(double time) const
{
    const double turn = period_ > 0 ? std::floor(time / period_) : 0;
    const double inside = period_ > 0 ? time - turn * period_ : time;
    size_t i = steps_.size();
    while (i > 1 && steps_[i - 1].start > inside)
        --i;
    const double last = period_ > 0 ? period_ : 1e18;
    const double end = (i < steps_.size() ? steps_[i].start : last) + turn * period_;
    return {std::max(end, std::nextafter(time, 1e18)), steps_[i - 1].level};
}

double Course::at(double time) const
{
    return piece_at(time).level;
}

double Course::area(double from, double to) const
{
    double sum = 0;
    while (from < to) {
        const Piece piece = piece_at(from);
        const double end = std::min(piece.end, to);
        sum += (end - from) * piece.level;
        from = end;
    }
    return sum;
}

double Course::time_for(double from, double amount) const
{
    const double start = from;
    constexpr double hopeless = 1e6;
    while (amount > 0 && from - start < hopeless) {
        const Piece piece = piece_at(from);
        const double here = (piece.end - from) * piece.level;
        if (here >= amount)
            return from + amount / piece.level;
        amount -= here;
        from = piece.end;
    }
    return from;
}

double Guest::pages() const
{
    double sum = 0;
    for (const Cell& cell : cells)
        sum += cell.pages;
    return sum;
}

double part_written(const Cell& cell, double from, double to)
{
    if (cell.kind == Cell::Kind::Scattered)
        return -std::expm1(-cell.rate * (to - from));
    const double swept = cell.sweep_speed * (to - from);
    if (swept >= cell.sweep_pages)
        return 1;
    // The pointer goes from `at` over `swept` pages; the cell may be met twice, after a wrap.
    const double at = std::fmod(cell.sweep_speed * from, cell.sweep_pages);
    double met = 0;
    for (const double begin : {cell.sweep_begin, cell.sweep_begin + cell.sweep_pages})
        met += std::max(0.0, std::min(begin + cell.pages, at + swept) - std::max(begin, at));
    return std::min(1.0, met / cell.pages);
}

const std::vector<std::string>& guest_kinds()
{
    static const std::vector<std::string> kinds = {"idle",   "uniform", "zipf", "sweep",
                                                   "bursts", "phases",  "jvm"};
    return kinds;
}

Guest make_guest(const std::string& kind, Random& random)
{
    Guest guest{.kind = kind, .cells = {}, .activity = steady(1)};
    const double memory = log_uniform(random, 0.25, 32) * pages_a_gib;
    const double hot = memory * uniform(random, 0.05, 0.6);
    const double rate = log_uniform(random, 300, 100'000); // writes a second
    guest.handover_s = uniform(random, 0.005, 0.02);
    add_cold(guest, memory - hot);
    if (kind == "idle")
        add_zipf(guest, hot, uniform(random, 5, 200), 1.0);
    else if (kind == "uniform")
        add_random(guest, hot, rate);
    else if (kind == "sweep")
        add_sweep(guest, hot, rate);
    else if (kind == "jvm") { // the young generation is swept, the old one written here and there
        add_sweep(guest, hot * 0.6, rate);
        add_zipf(guest, hot * 0.4, rate * 0.1, 1.1);
    } else
        add_zipf(guest, hot, rate, uniform(random, 0.7, 1.3));
    if (kind == "bursts") {
        const double period = log_uniform(random, 0.5, 20);
        const double busy = uniform(random, 0.1, 0.6);
        guest.activity = {{{0, 1}, {period * busy, uniform(random, 0.02, 0.2)}}, period};
    } else if (kind == "phases") {
        std::vector<Step> steps;
        double time = 0;
        while (time < 600) {
            steps.push_back({time, log_uniform(random, 0.05, 2)});
            time += log_uniform(random, 5, 60);
        }
        guest.activity = {std::move(steps), time};
    }
    return guest;
}

Course make_link(Random& random)
{
    const double level = log_uniform(random, 30e6, 2.5e9); // 0.25 to 20 Gbit/s
    const double what = uniform(random, 0, 1);
    if (what < 0.5)
        return steady(level);
    std::vector<Step> steps;
    double time = 0;
    if (what < 0.75) { // noise
        for (; time < 120; time += uniform(random, 0.2, 3))
            steps.push_back({time, level * uniform(random, 0.8, 1.1)});
    } else { // losses of bandwidth
        while (time < 200) {
            steps.push_back({time, level});
            time += log_uniform(random, 3, 40);
            steps.push_back({time, level * uniform(random, 0.02, 0.4)});
            time += log_uniform(random, 0.3, 6);
        }
    }
    return {std::move(steps), time};
}

} // namespace drover::sim
