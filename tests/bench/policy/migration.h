// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "guest.h"
#include "migration/policy/policy.h"

#include <functional>
#include <memory>
#include <optional>

namespace drover::sim {

/// How the engine under a rule treats a page that is written again before it is sent.
enum class Engine {
    Collects, ///< Drover: asks just before it sends, so such a page is sent once
    Syncs,    ///< QEMU: asks at the end of a round only, so it is sent now and then again
    Skips,    ///< Xen: asks meanwhile, and leaves it for the next round
};

/// A rule as it drives one migration. May remember what it saw: one object a migration.
class Rule {
public:
    virtual ~Rule() = default;
    [[nodiscard]] virtual Engine engine() const = 0;
    [[nodiscard]] virtual Decision decide(const MigrationWish& wish,
                                          const MigrationStats& stats) = 0;
};

struct RuleKind {
    const char* name;
    std::unique_ptr<Rule> (*make)();
};

/// Ours first.
[[nodiscard]] const std::vector<RuleKind>& all_rules();

struct Case {
    Guest guest;
    Course link;
    MigrationWish wish;
};

struct Outcome {
    bool completed = false;
    bool kept = false; ///< every wish
    double total_s = 0;
    double bytes = 0;
    double downtime_s = 0;
    double mean_slowdown = 0;
    double worst_slowdown = 0;
    double forecast_s = 0; ///< what the rule said of total_s before the start; 0: nothing
};

/// The case with this number: guests of all kinds in turn.
[[nodiscard]] Case make_case(uint64_t number);

/// `told` gets each decision and when it was taken.
[[nodiscard]] Outcome migrate(const Case& situation, Rule& rule,
                              const std::function<void(double, const Decision&)>& told = {});

/// Whether somebody who knows the future could keep the wishes: tries no slow-down, half and all of
/// it from the start on, and looks back for a moment at which the rest would have fitted.
[[nodiscard]] bool oracle_keeps(const Case& situation);

} // namespace drover::sim
