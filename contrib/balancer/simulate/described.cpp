// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/scenario.h"

#include <algorithm>
#include <cmath>
#include <toml++/toml.h>

namespace drover::balancer {

namespace {

/// A number, or points [seconds, value] with straight lines between them; with a period it begins
/// anew.
struct Trace {
    std::vector<std::pair<double, double>> points;

    [[nodiscard]] double at(double seconds) const
    {
        if (points.empty())
            return 0;
        const auto right =
            std::lower_bound(points.begin(), points.end(), seconds,
                             [](const auto& point, double time) { return point.first < time; });
        if (right == points.begin() || right == points.end())
            return right == points.end() ? points.back().second : points.front().second;
        const auto left = right - 1;
        const double part = (seconds - left->first) / (right->first - left->first);
        return left->second + part * (right->second - left->second);
    }
};

struct Traces {
    std::array<Trace, resource_count> wanted;
    Trace dirty_rate;
    double period = 0;
};

class DescribedLoads final : public LoadModel {
public:
    explicit DescribedLoads(std::vector<Traces> traces) : traces_(std::move(traces)) {}

    void step(double, double seconds, std::vector<Demand>& demand) override
    {
        time_ += seconds;
        demand.resize(traces_.size());
        for (size_t i = 0; i < traces_.size(); ++i) {
            const Traces& vm = traces_[i];
            const double at = vm.period > 0 ? std::fmod(time_, vm.period) : time_;
            for (size_t r = 0; r < resource_count; ++r)
                demand[i].wanted.part[r] = vm.wanted[r].at(at);
            demand[i].dirty_rate = vm.dirty_rate.at(at);
        }
    }

private:
    std::vector<Traces> traces_;
    double time_ = 0;
};

class Reader {
public:
    explicit Reader(std::string path) : path_(std::move(path)) {}
    Result<Scenario> read();

private:
    void host(const toml::table& table);
    void vm(const toml::table& table);
    void complain(const toml::node& node, const std::string& what);
    [[nodiscard]] double number(const toml::table& table, const char* key, double fallback);
    [[nodiscard]] Trace trace(const toml::table& table, const char* key, double fallback);
    [[nodiscard]] std::vector<WordId> words(const toml::table& table, const char* key);
    [[nodiscard]] WordSet word_set(const toml::table& table, const char* key);
    template <typename Take> void each(const toml::table& root, const char* key, Take take);

    std::string path_;
    Scenario scenario_;
    std::vector<Traces> traces_;
    std::optional<Error> error_; ///< the first one
};

void Reader::complain(const toml::node& node, const std::string& what)
{
    if (!error_)
        error_ = Error{ErrorKind::Invalid,
                       path_ + ", line " + std::to_string(node.source().begin.line) + ": " + what,
                       "docs/balancer.md shows such a file"};
}

double Reader::number(const toml::table& table, const char* key, double fallback)
{
    const toml::node* node = table.get(key);
    if (!node)
        return fallback;
    const auto value = node->value<double>();
    if (!value || !std::isfinite(*value) || *value < 0) {
        complain(*node, std::string(key) + " must be a number of 0 or more");
        return fallback;
    }
    return *value;
}

Trace Reader::trace(const toml::table& table, const char* key, double fallback)
{
    const toml::node* node = table.get(key);
    const toml::array* points = node ? node->as_array() : nullptr;
    if (!points)
        return {{{0, number(table, key, fallback)}}};
    Trace trace;
    for (const toml::node& point : *points) {
        const toml::array* pair = point.as_array();
        const auto time = pair && pair->size() == 2 ? (*pair)[0].value<double>() : std::nullopt;
        const auto value = time ? (*pair)[1].value<double>() : std::nullopt;
        if (!value || !(*value >= 0) ||
            (!trace.points.empty() && *time <= trace.points.back().first))
            complain(point, std::string(key) + " must be points [seconds, value] in order of time");
        else
            trace.points.emplace_back(*time, *value);
    }
    return trace;
}

std::vector<WordId> Reader::words(const toml::table& table, const char* key)
{
    std::vector<WordId> ids;
    const toml::node* node = table.get(key);
    if (!node)
        return ids;
    const toml::array* list = node->as_array();
    if (!list) {
        complain(*node, std::string(key) + " must be a list of words");
        return ids;
    }
    for (const toml::node& word : *list) {
        const auto text = word.value<std::string>();
        if (!text)
            complain(word, std::string(key) + " must be a list of words");
        else
            ids.push_back(scenario_.fleet.words().id(*text));
    }
    return ids;
}

WordSet Reader::word_set(const toml::table& table, const char* key)
{
    WordSet set;
    for (const WordId id : words(table, key))
        set.add(id);
    return set;
}

void Reader::host(const toml::table& table)
{
    HostSpec host;
    host.name = table["name"].value_or(std::string());
    if (host.name.empty() || scenario_.fleet.host_named(host.name))
        complain(table, "each host needs a name of its own");
    const double nic = number(table, "network", 1.25e9);
    host.capacity = Amount::of(number(table, "cores", 16), number(table, "memory", 64e9), nic, nic);
    host.link = number(table, "link", nic / 2);
    host.groups = word_set(table, "groups");
    host.offers = word_set(table, "offers");
    if (host.capacity[Resource::Cpu] <= 0 || host.capacity[Resource::Memory] <= 0 || nic <= 0)
        complain(table, "cores, memory and network of a host must be above 0");
    scenario_.fleet.add_host(std::move(host));
}

void Reader::vm(const toml::table& table)
{
    VmSpec vm;
    vm.name = table["name"].value_or(std::string());
    if (vm.name.empty() || scenario_.fleet.vm_named(vm.name))
        complain(table, "each VM needs a name of its own");
    const auto where = scenario_.fleet.host_named(table["host"].value_or(std::string()));
    if (!where)
        complain(table, "its host is none of the file's hosts");
    vm.vcpus = number(table, "vcpus", 1);
    vm.memory = number(table, "size", 4e9);
    vm.pinned = table["pinned"].value_or(false);
    vm.groups = word_set(table, "groups");
    vm.needs = word_set(table, "needs");
    vm.together = words(table, "together");
    vm.apart = words(table, "apart");
    vm.expected_tx = number(table, "expected-bandwidth", 0);
    Traces traces;
    traces.wanted = {trace(table, "cpu", 0), trace(table, "memory", vm.memory / 2),
                     trace(table, "rx", 0), trace(table, "tx", 0)};
    traces.dirty_rate = trace(table, "dirty-rate", 0);
    traces.period = number(table, "period", 0);
    traces_.push_back(std::move(traces));
    if (!error_)
        scenario_.fleet.add_vm(std::move(vm), *where);
}

template <typename Take> void Reader::each(const toml::table& root, const char* key, Take take)
{
    const toml::node* node = root.get(key);
    const toml::array* list = node ? node->as_array() : nullptr;
    if (!list)
        return complain(root, std::string("there is no [[") + key + "]]");
    for (const toml::node& item : *list)
        if (const toml::table* table = item.as_table())
            take(*table);
        else
            complain(item, std::string(key) + " must be tables: [[" + key + "]]");
}

Result<Scenario> Reader::read()
{
    try {
        const toml::table root = toml::parse_file(path_);
        each(root, "host", [&](const toml::table& table) { host(table); });
        each(root, "vm", [&](const toml::table& table) { vm(table); });
    } catch (const toml::parse_error& bad) {
        return fail(ErrorKind::Invalid, path_ + ", line " +
                                            std::to_string(bad.source().begin.line) + ": " +
                                            std::string(bad.description()));
    }
    if (error_)
        return std::unexpected(*error_);
    scenario_.loads = std::make_unique<DescribedLoads>(std::move(traces_));
    return std::move(scenario_);
}

} // namespace

Result<Scenario> read_scenario(const std::string& path)
{
    return Reader(path).read();
}

} // namespace drover::balancer
