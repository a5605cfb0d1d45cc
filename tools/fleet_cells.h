// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <string>
#include <string_view>
#include <vector>

/// What the fleet's verbs show, as text: pure functions from what the balancer said, which may come
/// from elsewhere and is never believed to be what it should.
namespace drover::tools {

/// How to draw.
struct FleetView {
    unsigned width = 0;  ///< columns; 0: as many as it takes
    unsigned height = 0; ///< lines; 0: as many as it takes
    bool colour = false;
    double now = 0; ///< seconds since 1970, for ages
};

enum class Colour { None, Bold, Dim, Green, Yellow, Red, Cyan };

/// Without what a terminal would obey or show otherwise than it is: control characters, those that
/// turn the direction of writing or have no width, and bytes that are not UTF-8 become '?'.
/// `lines`: newlines stay.
[[nodiscard]] std::string clean(std::string_view text, bool lines = false);

/// Columns that clean text takes.
[[nodiscard]] unsigned columns_of(std::string_view text);

/// Clean text in exactly `width` columns: padded, or cut with a '~' at its end.
[[nodiscard]] std::string fit(std::string_view text, unsigned width, bool right = false);

[[nodiscard]] std::string paint(const std::string& text, Colour colour, bool colours);

/// "[####----]", `width` columns in all (at least 3). A share that is no number is empty.
[[nodiscard]] std::string share_bar(double share, unsigned width);
[[nodiscard]] Colour colour_of_load(double share); ///< green, from 0.6 yellow, from 0.85 red

[[nodiscard]] std::string percent(double share);
[[nodiscard]] std::string bytes_text(double bytes);     ///< "1.5 GB"
[[nodiscard]] std::string seconds_text(double seconds); ///< "12 ms", "2.5 s", "3 min", "2 h"

[[nodiscard]] std::string text_in(const Json& object, const char* key); ///< json_string(), clean
[[nodiscard]] const Json& list_in(const Json& object, const char* key); ///< else an empty list
[[nodiscard]] const Json& object_in(const Json& object, const char* key);

/// Columns with a heading. The widest shrink until all fit the view's width.
class FleetTable {
public:
    struct Cell {
        std::string text; ///< is cleaned
        Colour colour = Colour::None;
    };

    /// A heading that begins with '>' is of a column of numbers, at the right.
    explicit FleetTable(std::vector<std::string> headings) : headings_(std::move(headings)) {}
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] bool empty() const { return rows_.empty(); }

    /// Lines, each with its newline. At most `most` rows, and then how many more there are; 0: all.
    [[nodiscard]] std::string draw(const FleetView& view, size_t most = 0) const;

private:
    [[nodiscard]] std::vector<unsigned> widths(const FleetView& view) const;

    std::vector<std::string> headings_;
    std::vector<std::vector<Cell>> rows_;
};

} // namespace drover::tools
