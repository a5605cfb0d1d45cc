// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/simulate_command.h"

#include "contrib/balancer/simulate/engine.h"
#include "monitor/json.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <unistd.h>

namespace drover::balancer {

namespace {

struct Options {
    std::string file;
    GeneratorOptions fleet;
    size_t rounds = 360;
    std::vector<std::string> planners;
    bool json = false;
    bool help = false;
};

constexpr const char* usage =
    "Usage: drover-balancer simulate [FILE] [--hosts N] [--vms N] [--rounds R] [--seed S]\n"
    "                                [--planner NAME]... [--json]\n"
    "\n"
    "Lets planners run a fleet, each with the same loads, a round each ten seconds.\n"
    "FILE describes the fleet (TOML, docs/balancer.md); without one it is generated.\n"
    "A day is 8640 rounds; the default is an hour.\n";

Result<size_t> number_of(std::string_view option, std::string_view text, size_t least)
{
    size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least)
        return fail(ErrorKind::Invalid,
                    std::string(option) + ": \"" + std::string(text) + "\" is no such number",
                    "give a whole number, " + std::to_string(least) + " or more");
    return value;
}

Status take_planner(Options& options, std::string_view name)
{
    const auto names = planner_names();
    if (std::find(names.begin(), names.end(), name) == names.end()) {
        std::string known;
        for (const std::string_view other : names)
            known += (known.empty() ? "" : ", ") + std::string(other);
        return fail(ErrorKind::Invalid, "there is no planner \"" + std::string(name) + "\"",
                    "there are " + known);
    }
    options.planners.emplace_back(name);
    return {};
}

Status take_option(Options& options, std::string_view option, std::string_view value)
{
    if (option == "--planner")
        return take_planner(options, value);
    size_t* place = option == "--hosts"    ? &options.fleet.hosts
                    : option == "--vms"    ? &options.fleet.vms
                    : option == "--rounds" ? &options.rounds
                                           : nullptr;
    auto number = number_of(option, value, place ? 1 : 0);
    if (!number)
        return pass(number);
    if (place)
        *place = *number;
    else
        options.fleet.seed = *number;
    return {};
}

Result<Options> parse(std::span<char*> words)
{
    constexpr std::array with_value{"--planner", "--hosts", "--vms", "--rounds", "--seed"};
    Options options;
    bool vms_given = false;
    for (size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word == "--json") {
            options.json = true;
        } else if (word == "--help") {
            options.help = true;
        } else if (std::find(with_value.begin(), with_value.end(), word) != with_value.end()) {
            if (i + 1 == words.size())
                return fail(ErrorKind::Invalid, std::string(word) + " lacks its value");
            if (auto taken = take_option(options, word, words[++i]); !taken)
                return pass(taken);
            vms_given = vms_given || word == "--vms";
        } else if (!word.starts_with("-") && options.file.empty()) {
            options.file = word;
        } else {
            return fail(ErrorKind::Invalid, "\"" + std::string(word) + "\" is not understood",
                        "drover-balancer simulate --help lists the options");
        }
    }
    if (!vms_given)
        options.fleet.vms = options.fleet.hosts * 10;
    if (options.planners.empty())
        options.planners.assign(planner_names().begin(), planner_names().end());
    return options;
}

Json to_json(const Metrics& m)
{
    Json json{{"planner", m.planner},
              {"hosts", m.hosts},
              {"vms", m.vms},
              {"round_ms", m.round_ms},
              {"worst_round_ms", m.worst_round_ms},
              {"hotspot_minutes", m.hotspot_minutes},
              {"cpu_minutes", m.cpu_minutes},
              {"bandwidth_minutes", m.bandwidth_minutes},
              {"swap_minutes", m.swap_minutes},
              {"vm_bandwidth_minutes", m.vm_minutes},
              {"overload_minutes", m.overload_minutes},
              {"migrations", m.migrations},
              {"ping_pong", m.ping_pong},
              {"refused", m.refused},
              {"memory_mb", m.memory_mb}};
    if (m.optimal_pct)
        json["optimal_pct"] = *m.optimal_pct;
    if (m.worst_gap_pct)
        json["worst_gap_pct"] = *m.worst_gap_pct;
    return json;
}

void print_row(const Metrics& m)
{
    std::string optimal = "-";
    if (m.optimal_pct) {
        char text[32];
        snprintf(text, sizeof text, "%.1f %%", *m.optimal_pct);
        optimal = text;
    }
    printf("%-20s %9.1f %8.1f %8.1f %8.1f %8.1f %9.1f %10zu %9zu %9.2f %8s\n", m.planner.c_str(),
           m.hotspot_minutes, m.cpu_minutes, m.bandwidth_minutes, m.swap_minutes, m.vm_minutes,
           m.overload_minutes, m.migrations, m.ping_pong, m.round_ms, optimal.c_str());
    fflush(stdout);
}

void print_head(const Options& options, const Metrics& m)
{
    printf("%zu hosts, %zu VMs, %zu rounds (%.1f h)", m.hosts, m.vms, options.rounds,
           double(options.rounds) / 360);
    if (options.file.empty())
        printf(", seed %llu", static_cast<unsigned long long>(options.fleet.seed));
    printf("\n\n%-20s %9s %8s %8s %8s %8s %9s %10s %9s %9s %8s\n", "planner", "hot min", "cpu",
           "link", "swap", "vm", "spikes+", "migrations", "ping-pong", "round ms", "optimal");
}

/// On a terminal only.
std::function<void(size_t)> progress_bar(const std::string& planner, size_t rounds)
{
    if (isatty(STDERR_FILENO) == 0)
        return {};
    return [planner, rounds, shown = size_t{101}](size_t round) mutable {
        constexpr size_t width = 30;
        const size_t percent = 100 * round / rounds;
        if (percent == shown)
            return;
        shown = percent;
        const std::string bar(width * round / rounds, '#');
        fprintf(stderr, round == rounds ? "\r\033[K" : "\r%-20s [%-30s] %3zu %%", planner.c_str(),
                bar.c_str(), percent);
    };
}

Result<Scenario> make_scenario(const Options& options)
{
    if (!options.file.empty())
        return read_scenario(options.file);
    return generate_scenario(options.fleet);
}

} // namespace

Result<int> run_simulate(std::span<char*> words)
{
    auto options = parse(words);
    if (!options)
        return pass(options);
    if (options->help) {
        fputs(usage, stdout);
        return 0;
    }
    bool first = true;
    for (const std::string& name : options->planners) {
        auto scenario = make_scenario(*options);
        if (!scenario)
            return pass(scenario);
        const auto planner = make_planner(name, scenario->fleet);
        EngineOptions engine;
        engine.rounds = options->rounds;
        engine.progress = progress_bar(name, options->rounds);
        const Metrics metrics = simulate(*scenario, *planner, engine);
        if (options->json) {
            printf("%s\n", dump_json(to_json(metrics)).c_str());
            fflush(stdout);
            continue;
        }
        if (first)
            print_head(*options, metrics);
        first = false;
        print_row(metrics);
    }
    return 0;
}

} // namespace drover::balancer
