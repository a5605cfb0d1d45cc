// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/config_rules.h"

#include <algorithm>
#include <cctype>

namespace drover::balancer::cluster {

namespace {

bool has(const std::vector<std::string>& list, const std::string& word)
{
    return std::find(list.begin(), list.end(), word) != list.end();
}

std::vector<std::string> common(const std::vector<std::string>& a,
                                const std::vector<std::string>& b)
{
    std::vector<std::string> both;
    std::copy_if(a.begin(), a.end(), std::back_inserter(both),
                 [&](const std::string& word) { return has(b, word); });
    return both;
}

} // namespace

bool is_name(std::string_view text)
{
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
    });
}

void RuleReader::read(const toml::table& table)
{
    TomlSection section(table, "[[rule]]", faults_);
    VmRule rule;
    rule.name = "rule " + std::to_string(config_.rules.size() + 1);
    section.text("name", rule.name);
    section.words("vms", rule.vms);
    section.boolean("together", rule.together);
    section.boolean("apart", rule.apart);
    section.boolean("pinned", rule.pinned);
    section.words("groups", rule.groups);
    section.text("policy", rule.policy);
    section.reject_others();
    check_one(section, rule);
    config_.rules.push_back(std::move(rule));
    tables_.push_back(&table);
}

void RuleReader::check_one(TomlSection& section, const VmRule& rule)
{
    if (!section.has("vms") || rule.vms.empty())
        section.fault(rule.name + " is about no VM", "add vms = [\"NAME\", …]");
    for (const std::string& vm : rule.vms)
        if (!is_name(vm))
            section.fault("vms", "'" + vm + "' cannot be a VM's name", name_form);
    for (size_t i = 0; i < rule.vms.size(); ++i)
        if (std::find(rule.vms.begin() + static_cast<long>(i) + 1, rule.vms.end(), rule.vms[i]) !=
            rule.vms.end())
            section.fault("vms", rule.name + " names " + rule.vms[i] + " twice", "leave one out");
    if (rule.together && rule.apart)
        section.fault("apart", rule.name + " wants its VMs both together and apart",
                      "leave one of the two out");
    if ((rule.together || rule.apart) && rule.vms.size() == 1)
        section.fault("vms", rule.name + " is about one VM alone", "name at least two");
    if (!rule.together && !rule.apart && !rule.pinned && rule.groups.empty() && rule.policy.empty())
        section.fault(rule.name + " asks for nothing",
                      "add together, apart, pinned, groups or policy");
    std::vector<std::string> names;
    names.reserve(config_.policies.size());
    for (const auto& [name, words] : config_.policies)
        names.push_back(name);
    if (!rule.policy.empty() && !has(names, rule.policy)) {
        const std::string meant = nearest(rule.policy, names);
        section.fault("policy", "no policy '" + rule.policy + "' is defined",
                      meant.empty() ? "add [policy." + rule.policy + "]"
                                    : "did you mean '" + meant + "'?");
    }
    for (const std::string& group : rule.groups)
        if (std::none_of(config_.hosts.begin(), config_.hosts.end(),
                         [&](const HostConfig& host) { return host.group == group; }))
            section.fault("groups", "no host is of the group '" + group + "'",
                          "give a [[host]] group = \"" + group + "\"");
}

void RuleReader::check()
{
    for (size_t a = 0; a < config_.rules.size(); ++a)
        for (size_t b = a + 1; b < config_.rules.size(); ++b)
            check_pairs(a, b);
    std::vector<std::string> seen;
    for (const VmRule& rule : config_.rules)
        for (const std::string& vm : rule.vms)
            if (!has(seen, vm)) {
                seen.push_back(vm);
                check_places(vm);
            }
}

void RuleReader::check_pairs(size_t a, size_t b)
{
    const VmRule& first = config_.rules[a];
    const VmRule& second = config_.rules[b];
    const auto both = common(first.vms, second.vms);
    if (both.size() >= 2 && ((first.together && second.apart) || (first.apart && second.together)))
        faults_.add(where(b),
                    second.name + " contradicts " + first.name + ": " + both[0] + " and " +
                        both[1] + " cannot be together and apart",
                    "take one of them out of one of the rules");
    if (!both.empty() && !first.policy.empty() && !second.policy.empty() &&
        first.policy != second.policy)
        faults_.add(where(b),
                    both[0] + " has two policies, " + first.policy + " and " + second.policy,
                    "take it out of one of the rules");
    if (!both.empty() && !first.groups.empty() && !second.groups.empty() &&
        common(first.groups, second.groups).empty())
        faults_.add(where(b),
                    second.name + " contradicts " + first.name + ": no host group is left for " +
                        both[0],
                    "let the two share a group");
}

/// Whoever must be together with others needs a group that all of them may be on; whoever must be
/// apart, as many hosts as there are of them.
void RuleReader::check_places(const std::string& vm)
{
    for (size_t i = 0; i < config_.rules.size(); ++i) {
        const VmRule& rule = config_.rules[i];
        if (rule.vms.front() != vm)
            continue;
        if (rule.apart && rule.vms.size() > config_.hosts.size())
            faults_.add(where(i),
                        rule.name + " wants " + std::to_string(rule.vms.size()) + " VMs apart on " +
                            std::to_string(config_.hosts.size()) + " hosts",
                        "add hosts, or make it several rules");
        if (!rule.together)
            continue;
        std::vector<std::string> left;
        bool bound = false;
        for (const VmRule& other : config_.rules) {
            if (other.groups.empty() || common(other.vms, rule.vms).empty())
                continue;
            left = bound ? common(left, other.groups) : other.groups;
            bound = true;
        }
        if (bound && left.empty())
            faults_.add(where(i), rule.name + ": its VMs may not be on the same host group",
                        "let the rules about them share a group");
    }
}

} // namespace drover::balancer::cluster
