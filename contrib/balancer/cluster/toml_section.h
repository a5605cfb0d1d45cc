// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/config.h"

#include <functional>
#include <set>
#include <toml++/toml.h>

namespace drover::balancer::cluster {

/// Where the faults of one reading are gathered.
class Faults {
public:
    void add(const toml::source_region& where, std::string message, std::string remedy);
    [[nodiscard]] std::vector<ConfigFault> take(); ///< by line
private:
    std::vector<ConfigFault> faults_;
};

/// The word of `known` that was most likely meant; empty: none is near.
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// "4MB/s", "1GiB/s", "1Gbit/s", or a number of bytes/s.
[[nodiscard]] std::optional<double> parse_rate(std::string_view text);
/// "30s", "5min", "2h", or a number of seconds.
[[nodiscard]] std::optional<double> parse_seconds(std::string_view text);

/// One table of the file. Each value that is asked for is checked and, if it is good, stored; a bad
/// one becomes a fault and leaves the target as it was. Keys that nobody asked for are faults.
class TomlSection {
public:
    TomlSection(const toml::table& table, std::string name, Faults& faults)
        : table_(table), name_(std::move(name)), faults_(faults)
    {
    }

    void text(const char* key, std::string& target);
    void boolean(const char* key, bool& target);
    void whole(const char* key, unsigned& target, unsigned low, unsigned high);
    /// 0.85 or "85%".
    void fraction(const char* key, double& target, double low, double high);
    void rate(const char* key, double& target, double low, double high);
    void seconds(const char* key, double& target, double low, double high);
    void words(const char* key, std::vector<std::string>& target);

    /// Null if it is not there, or no table (which is a fault).
    [[nodiscard]] const toml::table* table(const char* key);
    /// Calls for each table of [[key]].
    void each(const char* key, const std::function<void(const toml::table&)>& call);
    /// The value as it stands, marked as known; null if it is not there.
    [[nodiscard]] const toml::node* node(const char* key);
    [[nodiscard]] bool has(const char* key) const { return table_.contains(key); }

    void fault(const char* key, std::string message, std::string remedy);
    /// About the section itself.
    void fault(std::string message, std::string remedy);
    /// To be called at last: what was not asked for is not known.
    void reject_others();

    [[nodiscard]] const toml::table& raw() const { return table_; }

private:
    void number(const char* key, double& target, double low, double high,
                const std::function<std::optional<double>(std::string_view)>& parse,
                const std::string& form);

    const toml::table& table_;
    std::string name_;
    Faults& faults_;
    std::vector<std::string> known_;
};

} // namespace drover::balancer::cluster
