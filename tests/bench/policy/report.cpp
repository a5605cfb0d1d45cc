// SPDX-License-Identifier: GPL-2.0-or-later
#include "report.h"

#include "monitor/json.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>

namespace drover::sim {

namespace {

using Value = std::function<double(const Outcome&)>;

const Value total_s = [](const Outcome& o) { return o.total_s; };
const Value bytes = [](const Outcome& o) { return o.bytes; };
/// A migration that never ended has no downtime; it counts as the worst.
const Value downtime_ms = [](const Outcome& o) {
    return o.completed ? o.downtime_s * 1e3 : std::numeric_limits<double>::infinity();
};
const Value slowdown_pct = [](const Outcome& o) { return o.mean_slowdown * 100; };

double quantile(std::vector<double> values, double part)
{
    if (values.empty())
        return 0;
    const auto at = static_cast<size_t>(part * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + static_cast<long>(at), values.end());
    return values[at];
}

std::vector<double> values_of(const RuleResults& rule, const Value& value)
{
    std::vector<double> values;
    for (const Outcome& outcome : rule.outcomes)
        values.push_back(value(outcome));
    return values;
}

/// In percent of what happened, of the migrations that ended and for which something was foretold.
std::vector<double> forecast_errors(const RuleResults& rule)
{
    std::vector<double> errors;
    for (const Outcome& outcome : rule.outcomes)
        if (outcome.completed && outcome.forecast_s > 0)
            errors.push_back(std::abs(outcome.forecast_s - outcome.total_s) / outcome.total_s *
                             100);
    return errors;
}

size_t count(const std::vector<bool>& flags)
{
    return static_cast<size_t>(std::count(flags.begin(), flags.end(), true));
}

size_t kept(const RuleResults& rule)
{
    return static_cast<size_t>(std::count_if(rule.outcomes.begin(), rule.outcomes.end(),
                                             [](const Outcome& o) { return o.kept; }));
}

/// Of the cases that the oracle keeps, those that the rule keeps.
size_t kept_of_oracle(const Results& results, const RuleResults& rule)
{
    size_t number = 0;
    for (size_t i = 0; i < rule.outcomes.size(); ++i)
        number += results.oracle[i] && rule.outcomes[i].kept;
    return number;
}

/// Cases that this rule keeps and ours (the first) does not.
size_t kept_and_not_by_us(const Results& results, const RuleResults& rule)
{
    size_t number = 0;
    for (size_t i = 0; i < rule.outcomes.size(); ++i)
        number += rule.outcomes[i].kept && !results.rules[0].outcomes[i].kept;
    return number;
}

/// Ours divided by theirs, where both keep the wishes.
double median_ratio(const Results& results, const RuleResults& theirs, const Value& value)
{
    std::vector<double> ratios;
    for (size_t i = 0; i < theirs.outcomes.size(); ++i) {
        const Outcome& ours = results.rules[0].outcomes[i];
        if (ours.kept && theirs.outcomes[i].kept)
            ratios.push_back(value(ours) / value(theirs.outcomes[i]));
    }
    return quantile(ratios, 0.5);
}

void print_distribution(const Results& results, const char* title, const Value& value,
                        const char* format)
{
    printf("\n%-20s %10s %10s %10s %10s %10s\n", title, "10 %", "25 %", "median", "75 %", "90 %");
    for (const RuleResults& rule : results.rules) {
        const std::vector<double> values = values_of(rule, value);
        printf("  %-18s", rule.rule.c_str());
        for (const double part : {0.1, 0.25, 0.5, 0.75, 0.9})
            printf(format, quantile(values, part));
        printf("\n");
    }
}

} // namespace

double part_kept(const Results& results)
{
    return static_cast<double>(kept_of_oracle(results, results.rules[0])) /
           static_cast<double>(std::max<size_t>(count(results.oracle), 1));
}

void print_table(const Results& results)
{
    const size_t cases = results.oracle.size(), oracle = count(results.oracle);
    printf("%zu guests; somebody who knows the future keeps the wishes of %zu\n\n", cases, oracle);
    printf("%-20s %8s %16s %18s %18s\n", "rule", "ended", "wishes kept", "of the oracle's",
           "kept, not by us");
    for (const RuleResults& rule : results.rules) {
        const auto ended =
            static_cast<size_t>(std::count_if(rule.outcomes.begin(), rule.outcomes.end(),
                                              [](const Outcome& o) { return o.completed; }));
        const size_t ours = kept_of_oracle(results, rule);
        printf("  %-18s %8zu %9zu %5.1f%% %11zu %5.1f%% %18zu\n", rule.rule.c_str(), ended,
               kept(rule), 100.0 * static_cast<double>(kept(rule)) / static_cast<double>(cases),
               ours, 100.0 * static_cast<double>(ours) / static_cast<double>(oracle),
               kept_and_not_by_us(results, rule));
    }
    print_distribution(results, "total time (s)", total_s, " %10.2f");
    print_distribution(
        results, "bytes (GB)", [](const Outcome& o) { return o.bytes / 1e9; }, " %10.2f");
    print_distribution(results, "downtime (ms)", downtime_ms, " %10.1f");
    print_distribution(results, "slow-down (%)", slowdown_pct, " %10.1f");
    printf("\ndrover divided by each, where both keep the wishes (medians)\n");
    for (const RuleResults& rule : results.rules)
        printf("  %-18s total time %.3f, bytes %.3f, downtime %.3f\n", rule.rule.c_str(),
               median_ratio(results, rule, total_s), median_ratio(results, rule, bytes),
               median_ratio(results, rule, downtime_ms));
    const std::vector<double> errors = forecast_errors(results.rules[0]);
    printf("\nforecast of the total time, by drover: median error %.1f %%, 90 %% of them within "
           "%.1f %%\n",
           quantile(errors, 0.5), quantile(errors, 0.9));
}

void print_json(const Results& results)
{
    for (const RuleResults& rule : results.rules) {
        const std::vector<double> errors = forecast_errors(rule);
        Json line{{"rule", rule.rule},
                  {"guests", rule.outcomes.size()},
                  {"wishes_kept", kept(rule)},
                  {"oracle_keeps", count(results.oracle)},
                  {"wishes_kept_of_oracle", kept_of_oracle(results, rule)},
                  {"kept_and_not_by_drover", kept_and_not_by_us(results, rule)},
                  {"total_s", quantile(values_of(rule, total_s), 0.5)},
                  {"bytes", std::llround(quantile(values_of(rule, bytes), 0.5))},
                  {"downtime_ms", quantile(values_of(rule, downtime_ms), 0.5)},
                  {"slowdown_pct", quantile(values_of(rule, slowdown_pct), 0.5)},
                  {"forecast_error_pct", nullptr}};
        if (!errors.empty())
            line["forecast_error_pct"] = quantile(errors, 0.5);
        printf("%s\n", line.dump().c_str());
    }
}

namespace {

constexpr double cell_width = 86, cell_height = 30, left_margin = 150, top_margin = 92;

std::string text(double x, double y, const char* extra, const std::string& words)
{
    char at[96];
    snprintf(at, sizeof at, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, extra);
    return at + words + "</text>\n";
}

/// From red (three quarters or less) over yellow to green.
std::string colour(double part)
{
    char rgb[32];
    const double shade = std::clamp((part - 0.75) * 4, 0.0, 1.0);
    snprintf(rgb, sizeof rgb, "hsl(%.0f,62%%,%.0f%%)", 10 + 125 * shade, 78 - 10 * shade);
    return rgb;
}

struct Share {
    size_t kept = 0;
    size_t all = 0;
};

/// Of those that the oracle keeps, of one kind ("": of all).
Share share_of(const Results& results, const RuleResults& rule, const std::string& kind)
{
    Share share;
    for (size_t i = 0; i < rule.outcomes.size(); ++i) {
        if (!results.oracle[i] || (!kind.empty() && results.kinds[i] != kind))
            continue;
        ++share.all;
        share.kept += rule.outcomes[i].kept;
    }
    return share;
}

std::string draw_cell(double x, double y, const Share& share)
{
    const double part =
        share.all > 0 ? static_cast<double>(share.kept) / static_cast<double>(share.all) : 1;
    char rect[160], words[16];
    snprintf(rect, sizeof rect,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" fill=\"%s\"/>\n",
             x, y, cell_width - 4, cell_height - 4, colour(part).c_str());
    snprintf(words, sizeof words, "%.1f %%", part * 100);
    return rect + text(x + cell_width / 2 - 2, y + 18, "text-anchor=\"middle\"", words);
}

} // namespace

/// Of the family of tests/e2e/drover_e2e/svg.py, but for its width: a table.
std::string draw(const Results& results)
{
    std::vector<std::string> columns = guest_kinds();
    columns.emplace_back();
    const double width = left_margin + cell_width * static_cast<double>(columns.size()) + 20;
    const double height = top_margin + cell_height * static_cast<double>(results.rules.size()) + 30;
    char head[288];
    snprintf(head, sizeof head,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
             "font-family=\"sans-serif\" font-size=\"12\" fill=\"#1f2933\">\n"
             "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
             width, height);
    std::string svg = head;
    svg += text(20, 30, "font-size=\"16\" font-weight=\"bold\"",
                "Wishes kept, where somebody who knows the future keeps them");
    svg += text(20, 50, "font-weight=\"bold\"",
                std::to_string(results.oracle.size()) +
                    " simulated guests and links; downtime, deadline and slow-down all kept");
    for (size_t c = 0; c < columns.size(); ++c) {
        const double x = left_margin + cell_width * static_cast<double>(c);
        svg += text(x + cell_width / 2 - 2, top_margin - 8,
                    "text-anchor=\"middle\" font-weight=\"bold\"",
                    columns[c].empty() ? "all" : columns[c]);
        for (size_t r = 0; r < results.rules.size(); ++r)
            svg += draw_cell(x, top_margin + cell_height * static_cast<double>(r),
                             share_of(results, results.rules[r], columns[c]));
    }
    for (size_t r = 0; r < results.rules.size(); ++r)
        svg += text(left_margin - 10, top_margin + cell_height * static_cast<double>(r) + 18,
                    r == 0 ? "text-anchor=\"end\" font-weight=\"bold\"" : "text-anchor=\"end\"",
                    results.rules[r].rule);
    return svg + "</svg>\n";
}

} // namespace drover::sim
