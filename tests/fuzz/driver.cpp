// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a fuzz target over the given files, its seeds, and pseudo-random mutations of both. The same
// arguments give the same inputs on every machine; a crash names the way to repeat it.
#include "tests/fuzz/driver.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

constexpr size_t max_input = 1U << 16;
constexpr char crash_file[] = "crash-input";

struct Options {
    uint64_t seed = 1;
    uint64_t iterations = 10'000;
    double seconds = 0; ///< when > 0: run so long instead of counting iterations
    std::vector<std::string> paths;
};

std::string g_current; // the input that runs now, for the crash handler

void on_crash(int signal_number)
{
    if (FILE* file = fopen(crash_file, "wb")) {
        fwrite(g_current.data(), 1, g_current.size(), file);
        fclose(file);
    }
    fprintf(stderr, "signal %d; the input was written to ./%s\n", signal_number, crash_file);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void run(const std::string& input)
{
    g_current = input;
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(g_current.data()), g_current.size());
}

uint64_t below(Random& random, uint64_t bound)
{
    return bound == 0 ? 0 : random() % bound;
}

/// Overwrites 1, 2, 4 or 8 bytes by a number that lengths and counts tend to break on.
void put_number(std::string& input, Random& random)
{
    static constexpr std::array<uint64_t, 10> numbers = {
        0, 1, 0x7f, 0x80, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1ULL << 63, UINT64_MAX};
    const uint64_t number = numbers[below(random, numbers.size())];
    const size_t width = size_t{1} << below(random, 4);
    if (input.size() < width)
        return;
    std::memcpy(input.data() + below(random, input.size() - width + 1), &number, width);
}

void mutate(std::string& input, Random& random, const std::vector<std::string>& corpus)
{
    const size_t at = below(random, input.size() + 1);
    const size_t length = below(random, std::min<size_t>(input.size() - at, 64) + 1);
    switch (below(random, 8)) {
    case 0:
        if (at < input.size())
            input[at] = static_cast<char>(input[at] ^ (1 << below(random, 8)));
        break;
    case 1:
        if (at < input.size())
            input[at] = static_cast<char>(random());
        break;
    case 2: input.insert(at, 1, static_cast<char>(random())); break;
    case 3: input.erase(at, length); break;
    case 4: input.insert(at, input.substr(at, length)); break;
    case 5: input.resize(at); break;
    case 6: put_number(input, random); break;
    default: {
        const std::string& other = corpus[below(random, corpus.size())];
        input = input.substr(0, at) + other.substr(below(random, other.size() + 1));
    }
    }
    input.resize(std::min(input.size(), max_input));
}

Options read_options(int argc, char** argv)
{
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const bool has_value = i + 1 < argc;
        if (word == "--seed" && has_value) {
            options.seed = strtoull(argv[++i], nullptr, 0);
        } else if (word == "--iterations" && has_value) {
            options.iterations = strtoull(argv[++i], nullptr, 0);
        } else if (word == "--seconds" && has_value) {
            options.seconds = strtod(argv[++i], nullptr);
        } else if (word.starts_with("-")) {
            fprintf(stderr, "usage: %s [--seed N] [--iterations N | --seconds S] [FILE|DIR]...\n",
                    argv[0]);
            exit(2);
        } else {
            options.paths.push_back(word);
        }
    }
    return options;
}

std::string contents(const std::filesystem::path& path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> read_corpus(const std::vector<std::string>& paths)
{
    std::vector<std::string> corpus = drover::fuzz::seeds();
    for (const std::string& path : paths) {
        if (!std::filesystem::is_directory(path)) {
            corpus.push_back(contents(path));
            continue;
        }
        for (const auto& entry : std::filesystem::directory_iterator(path)) {
            if (entry.is_regular_file())
                corpus.push_back(contents(entry.path()));
        }
    }
    if (corpus.empty())
        corpus.emplace_back();
    return corpus;
}

} // namespace

int main(int argc, char** argv)
{
    const Options options = read_options(argc, argv);
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        signal(number, on_crash);

    const std::vector<std::string> corpus = read_corpus(options.paths);
    for (const std::string& input : corpus)
        run(input);

    Random random(options.seed);
    const auto start = Clock::now();
    uint64_t done = 0;
    const auto more = [&] {
        if (options.seconds <= 0)
            return done < options.iterations;
        return std::chrono::duration<double>(Clock::now() - start).count() < options.seconds;
    };
    for (; more(); ++done) {
        std::string input = corpus[below(random, corpus.size())];
        for (uint64_t n = 1 + below(random, 8); n > 0; --n)
            mutate(input, random, corpus);
        run(input);
    }
    printf("%zu seeds and %llu mutations ran\n", corpus.size(),
           static_cast<unsigned long long>(done));
    return 0;
}
