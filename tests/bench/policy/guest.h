// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

/// Synthetic guests and links for the policy simulator: fluid models, so that a migration of
/// gigabytes costs microseconds. Deterministic: a number makes the same guest on any machine.
namespace drover::sim {

using Random = std::mt19937_64;

[[nodiscard]] double uniform(Random& random, double low, double high);
/// Such that each factor of two is as likely as any other.
[[nodiscard]] double log_uniform(Random& random, double low, double high);

/// What is constant for a while: from `start` seconds on, `level`.
struct Step {
    double start;
    double level;
};

/// A level over time, such as a guest's activity or a link's capacity. Repeats after `period`, if
/// that is not 0.
class Course {
public:
    Course(std::vector<Step> steps, double period) : steps_(std::move(steps)), period_(period) {}

    [[nodiscard]] double at(double time) const;
    /// The area below it in [from, to].
    [[nodiscard]] double area(double from, double to) const;
    /// When the area from `from` on reaches `amount`.
    [[nodiscard]] double time_for(double from, double amount) const;

private:
    struct Piece {
        double end;
        double level;
    };
    [[nodiscard]] Piece piece_at(double time) const;

    std::vector<Step> steps_; ///< ascending, the first at 0
    double period_;
};

/// Pages that are written alike.
struct Cell {
    enum class Kind { Scattered, Swept };
    Kind kind = Kind::Scattered;
    double pages = 0;
    double rate = 0;        ///< Scattered: writes a second of each page
    double sweep_begin = 0; ///< Swept: the cell's place in the swept memory, in pages
    double sweep_pages = 0; ///< Swept: the swept memory's size
    double sweep_speed = 0; ///< Swept: pages a second
};

struct Guest {
    std::string kind;
    std::vector<Cell> cells;
    Course activity; ///< 1: as the cells' rates say
    double handover_s = 0.01;

    [[nodiscard]] double pages() const;
};

/// Which part of the cell's pages is written while the guest's own clock (its activity summed up)
/// goes from `from` to `to`.
[[nodiscard]] double part_written(const Cell& cell, double from, double to);

/// The kinds, in the order in which guests are made.
[[nodiscard]] const std::vector<std::string>& guest_kinds();
[[nodiscard]] Guest make_guest(const std::string& kind, Random& random);

/// Bytes a second: steady, noisy, or with losses of bandwidth in between.
[[nodiscard]] Course make_link(Random& random);

} // namespace drover::sim
