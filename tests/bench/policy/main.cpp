// SPDX-License-Identifier: GPL-2.0-or-later
//
// policy-bench [--json] [--guests N] [--picture FILE] [--explain NUMBER]: thousands of synthetic
// guests through the real policy code, beside the rules of others; or one of them, step by step.
#include "report.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <string_view>
#include <thread>

namespace {

using namespace drover::sim;

struct Options {
    bool json = false;
    uint64_t guests = 7000;
    std::string picture;
    std::optional<uint64_t> explain;
    uint64_t require = 0; ///< percent of the oracle's wishes that must be kept
    bool good = true;
};

bool read_number(const char* text, uint64_t& number)
{
    char* end = nullptr;
    number = strtoull(text, &end, 10);
    return end != text && *end == '\0';
}

Options parse(int count, char** words)
{
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string_view word = words[i];
        if (word == "--json") {
            options.json = true;
        } else if (word == "--guests" && i + 1 < count) {
            options.good &= read_number(words[++i], options.guests) && options.guests > 0;
        } else if (word == "--require" && i + 1 < count) {
            options.good &= read_number(words[++i], options.require);
        } else if (word == "--explain" && i + 1 < count) {
            uint64_t number = 0;
            options.good &= read_number(words[++i], number);
            options.explain = number;
        } else if (word == "--picture" && i + 1 < count) {
            options.picture = words[++i];
        } else {
            options.good = false;
        }
    }
    return options;
}

Results run(uint64_t guests)
{
    Results results;
    results.kinds.resize(guests);
    std::vector<char> oracle(guests);
    for (const RuleKind& kind : all_rules())
        results.rules.push_back({kind.name, std::vector<Outcome>(guests)});
    const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
    std::atomic<uint64_t> next{0};
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < threads; ++t)
        workers.emplace_back([&] {
            for (uint64_t i = next++; i < guests; i = next++) {
                const Case one = make_case(i);
                results.kinds[i] = one.guest.kind;
                oracle[i] = oracle_keeps(one);
                for (size_t r = 0; r < results.rules.size(); ++r)
                    results.rules[r].outcomes[i] = migrate(one, *all_rules()[r].make());
            }
        });
    for (std::thread& worker : workers)
        worker.join();
    results.oracle.assign(oracle.begin(), oracle.end());
    return results;
}

void explain(uint64_t number)
{
    const Case one = make_case(number);
    const drover::MigrationWish& wish = one.wish;
    printf(
        "guest %lu (%s): %.1f GiB, %.0f MB/s at first; wishes: downtime %.0f ms, deadline %.0f s, "
        "slow-down at most %.0f %%\n",
        number, one.guest.kind.c_str(), one.guest.pages() / 262144, one.link.at(0) / 1e6,
        wish.downtime_s * 1e3, wish.deadline_s.value_or(0), wish.max_slowdown * 100);
    const auto rule = all_rules()[0].make();
    const Outcome outcome = migrate(one, *rule, [](double time, const drover::Decision& decision) {
        printf("%9.3f s  %s\n", time, decision.reason.c_str());
    });
    printf("%s: %.2f s, downtime %.1f ms; somebody who knows the future %s them\n",
           outcome.kept ? "wishes kept" : "wishes not kept", outcome.total_s,
           outcome.downtime_s * 1e3, oracle_keeps(one) ? "keeps" : "does not keep");
}

} // namespace

int main(int count, char** words)
{
    const Options options = parse(count, words);
    if (!options.good) {
        std::cerr << "usage: policy-bench [--json] [--guests N] [--picture FILE.svg] "
                     "[--explain NUMBER] [--require PERCENT]\n";
        return 2;
    }
    if (options.explain) {
        explain(*options.explain);
        return 0;
    }
    const Results results = run(options.guests);
    if (options.json)
        print_json(results);
    else
        print_table(results);
    if (!options.picture.empty()) {
        std::ofstream file(options.picture);
        file << draw(results);
        if (!file.flush()) {
            std::cerr << "policy-bench: cannot write " << options.picture << ": " << strerror(errno)
                      << "\n";
            return 1;
        }
    }
    if (part_kept(results) * 100 < static_cast<double>(options.require)) {
        std::cerr << "policy-bench: only " << part_kept(results) * 100
                  << " % of the wishes that can be kept are kept\n";
        return 1;
    }
    return 0;
}
