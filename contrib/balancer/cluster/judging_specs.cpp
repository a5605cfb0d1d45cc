// SPDX-License-Identifier: GPL-2.0-or-later
//
// Hosts and VMs in the judge's terms.
#include "contrib/balancer/cluster/judging.h"
#include "contrib/balancer/cluster/uplinks.h"

#include <algorithm>
#include <tuple>

namespace drover::balancer::cluster {

namespace {

constexpr size_t most_words = 256; // of one list that a host sends
constexpr size_t longest_word = 128;
constexpr size_t most_known_words = 20'000; // of the whole fleet: what is known is never forgotten

std::vector<std::string> list_of(const Json& object, const char* key)
{
    std::vector<std::string> list;
    const auto member = object.find(key);
    if (member == object.end() || !member->is_array())
        return list;
    for (const Json& word : *member)
        if (word.is_string() && list.size() < most_words)
            list.push_back(word.get<std::string>());
    return list;
}

/// The numbers of words that hosts send; not more than a fleet may have.
class SentWords {
public:
    explicit SentWords(Words& words) : words_(words) {}

    std::vector<WordId> of(const Json& object, const char* key)
    {
        std::vector<WordId> ids;
        const auto member = object.find(key);
        all_ &= member == object.end() || member->size() <= most_words;
        for (const std::string& word : list_of(object, key)) {
            const bool fits = words_.knows(word) ||
                              (word.size() <= longest_word && words_.size() < most_known_words);
            all_ &= fits;
            if (fits)
                ids.push_back(words_.id(word));
        }
        return ids;
    }
    /// None was left out.
    [[nodiscard]] bool all() const { return all_; }

private:
    Words& words_;
    bool all_ = true;
};

/// "total": {"expected": …} and the like.
double expected(const Json& way, const char* key)
{
    const auto range = way.find(key);
    return range != way.end() && range->is_object() ? json_quantity(*range, "expected") : 0;
}

MigrationForecast read_way(const Json& way)
{
    return {.seconds = expected(way, "total"),
            .bytes = expected(way, "bytes"),
            .downtime = expected(way, "downtime"),
            .slowdown = std::min(1.0, json_quantity(way, "slowdown") / 100),
            .possible = json_bool(way, "possible"),
            .keeps_wish = json_bool(way, "keeps-wish"),
            .why = json_string(way, "why")};
}

/// Whether QEMU's hosts can run it, and whether Xen's can: as runs_on_qemu() and runs_on_xen().
std::pair<bool, bool> hypervisors_of(const Json& definition)
{
    const std::string kind = json_string(definition, "kind", "drover");
    const auto command = definition.find("command");
    const bool has_command =
        command != definition.end() && command->is_array() && !command->empty();
    return {kind != "xen" || has_command,
            kind != "qemu" && !json_string(definition, "xen-config").empty()};
}

bool lists(const std::vector<std::string>& list, const std::string& word)
{
    return std::find(list.begin(), list.end(), word) != list.end();
}

} // namespace

std::string policy_words(const Config& config, const std::string& policy)
{
    const auto known = config.policies.find(policy);
    return known == config.policies.end() ? policy : known->second;
}

HostSpec host_spec(const FleetHost& host, const NicLoad* uplink, Words& words)
{
    const HostConfig& config = host.config;
    HostSpec spec;
    spec.name = config.name;
    if (!config.group.empty())
        spec.groups.add(words.id(config.group));
    const double cores = host.load.cores > 0 ? host.load.cores : json_quantity(host.facts, "cores");
    const double memory =
        host.load.memory_total > 0 ? host.load.memory_total : json_quantity(host.facts, "memory");
    const double network = uplink != nullptr ? uplink->capacity : 0;
    spec.capacity = Amount::of(cores, memory, network, network);
    const Thresholds& t = config.thresholds;
    spec.threshold = Amount::of(t.cpu, t.memory, t.bandwidth, t.bandwidth);
    spec.swap_out_threshold = t.swap_out;
    const Reserve& r = config.reserve;
    spec.reserve = Amount::of(r.cpu, r.memory, r.bandwidth, r.bandwidth);
    for (const WordId word : SentWords(words).of(host.facts, "offers"))
        spec.offers.add(word);
    for (const std::string& word : config.offers)
        spec.offers.add(words.id(word));
    spec.xen = lists(list_of(host.facts, "offers"), "xen");
    spec.xen_free = host.load.memory_available;
    if (spec.xen) { // what is free there can be given away to the last byte, and no guest grows
        spec.threshold[Resource::Memory] = 1;
        spec.reserve[Resource::Memory] = 0;
    }
    spec.max_in = config.limits.migrations_in;
    spec.max_out = config.limits.migrations_out;
    if (config.limits.bandwidth > 0)
        spec.link = config.limits.bandwidth;
    else if (const double link = migration_link(host.load); link > 0)
        spec.link = link;
    spec.huge_free = host.load.huge_free;
    spec.receives = host.up && !config.maintenance;
    return spec;
}

VmSpec Judging::spec_of(const Surroundings& around, const Fleet::Place& place)
{
    const FleetVm& vm = *place.vm;
    Words& words = fleet_.words();
    VmSpec spec;
    spec.name = vm.name;
    spec.vcpus = vm.load.vcpus > 0 ? vm.load.vcpus : 1;
    spec.memory = vm.load.memory;
    // Its emulator reserves all of its RAM, touched or not.
    spec.huge = vm.load.huge > 0 ? std::max(vm.load.huge, vm.load.memory) : 0;
    spec.pinned = json_bool(vm.definition, "pinned");
    std::tie(spec.for_qemu, spec.for_xen) = hypervisors_of(vm.definition);
    // Somebody else moves it, or two hosts claim it: then it is left alone.
    const bool strange = vm.state == "moving" && around.mover.of_vm(vm.name) == nullptr;
    spec.settling = vm.settling;
    const bool stands = vm.state != "moving" && !vm.settling && !vm.standstill().empty();
    spec.reachable = !stands && !place.twice && !strange;
    spec.policy = policy_words(around.config, json_string(vm.definition, "policy"));
    std::vector<std::string> groups = list_of(vm.definition, "groups");
    SentWords sent(words);
    (void)sent.of(vm.definition, "groups"); // rules may yet take some away
    for (const WordId word : sent.of(vm.definition, "needs"))
        spec.needs.add(word);
    spec.together = sent.of(vm.definition, "together");
    spec.apart = sent.of(vm.definition, "apart");
    spec.reachable &= sent.all(); // whose wishes are not all known is not moved
    for (size_t i = 0; i < around.config.rules.size(); ++i) {
        const VmRule& rule = around.config.rules[i];
        if (!lists(rule.vms, vm.name))
            continue;
        // A space: no definition can have it in a label that means the same.
        const std::string label = "rule " + std::to_string(i + 1);
        if (rule.together)
            spec.together.push_back(words.id(label));
        if (rule.apart)
            spec.apart.push_back(words.id(label));
        spec.pinned |= rule.pinned;
        if (!rule.policy.empty())
            spec.policy = policy_words(around.config, rule.policy);
        if (groups.empty())
            groups = rule.groups;
        else if (!rule.groups.empty())
            std::erase_if(groups, [&](const std::string& g) { return !lists(rule.groups, g); });
    }
    for (const std::string& group : groups)
        if (sent.all()) // else it is not moved anyway
            spec.groups.add(words.id(group));
    // After failures it rests; a user may move it all the same.
    spec.pinned |= around.mover.vm_pauses().left(vm.name, time_.now()) > 0;
    return spec;
}

std::optional<MigrationForecast> forecast_of(const Json& answer)
{
    if (!answer.is_object() || !answer.contains("ways") || !answer["ways"].is_array())
        return std::nullopt;
    std::optional<MigrationForecast> best;
    for (const Json& way : answer["ways"]) {
        if (!way.is_object())
            continue;
        const MigrationForecast read = read_way(way);
        const auto rank = [](const MigrationForecast& f) { return f.possible + f.keeps_wish; };
        if (!best || rank(read) > rank(*best)) // of equal ones the first: the mildest
            best = read;
    }
    return best;
}

} // namespace drover::balancer::cluster
