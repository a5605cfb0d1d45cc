// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/toml_section.h"

namespace drover::balancer::cluster {

inline constexpr const char* name_form =
    "use 1 to 64 letters, digits, dots, underscores and dashes";

/// Of a VM, host or policy.
[[nodiscard]] bool is_name(std::string_view text);

/// Reads the [[rule]]s, and looks whether they contradict each other.
class RuleReader {
public:
    RuleReader(Config& config, Faults& faults) : config_(config), faults_(faults) {}
    void read(const toml::table& table);
    void check();

private:
    void check_one(TomlSection& section, const VmRule& rule);
    void check_pairs(size_t a, size_t b);
    void check_places(const std::string& vm);
    [[nodiscard]] const toml::source_region& where(size_t rule) const
    {
        return tables_[rule]->source();
    }

    Config& config_;
    Faults& faults_;
    std::vector<const toml::table*> tables_; ///< of config_.rules, in the same order
};

} // namespace drover::balancer::cluster
