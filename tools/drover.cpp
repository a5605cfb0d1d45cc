// SPDX-License-Identifier: GPL-2.0-or-later
// The person's and the script's tool.
#include "tools/verbs.h"
#include "util/log.h"

#include <csignal>
#include <cstdio>

namespace {

using namespace drover;
using namespace drover::tools;

struct Verb {
    const char* name;
    const char* usage;
    const char* help;
    Result<int> (*run)(Words);
};

constexpr Verb verbs[] = {
    {"qmp", qmp_usage,
     "  Executes a QMP command and prints what it returns, or waits for an event (whose data has\n"
     "  the given values) and prints it. With both, first the command, then the event.\n",
     run_qmp},
    {"migrate", migrate_usage,
     "  Migrates a guest, shows the progress, and ends when the migration has ended. A timeout or\n"
     "  Ctrl-C cancels it. --json prints the last answer of query-migrate instead.\n",
     run_migrate},
    {"report", report_usage,
     "  Draws a migration as an SVG picture. FILE is what \"drover migrate --json\" printed, or "
     "what\n"
     "  query-migrate returned at the source.\n",
     run_report},
};

void print_help(FILE* out)
{
    fprintf(out, "Usage:\n");
    for (const Verb& verb : verbs)
        fprintf(out, "%s%s", verb.usage, verb.help);
    fprintf(out, "SOCKET is a UNIX socket's path, HOST:PORT, unix:PATH or tcp:HOST:PORT.\n"
                 "Exit codes: 0 done, 1 failed (stderr says why), 2 wrong usage.\n");
}

int run_verb(const Verb& verb, std::span<char*> words)
{
    const Result<int> code = verb.run(Words(words));
    if (code)
        return *code;
    log::error(code.error().text());
    fprintf(stderr, "%s", verb.usage);
    return exit_usage;
}

} // namespace

int main(int argc, char** argv)
{
    signal(SIGPIPE, SIG_IGN); // a reader that went away is not a reason to die in mid-migration
    log::set_program("drover");
    const std::string_view word = argc > 1 ? argv[1] : "";
    if (word == "--help" || word == "-h" || word == "help") {
        print_help(stdout);
        return exit_done;
    }
    if (word == "--version") {
        printf("drover %s\n", DROVER_VERSION);
        return exit_done;
    }
    for (const Verb& verb : verbs) {
        if (word == verb.name)
            return run_verb(verb, std::span(argv, static_cast<size_t>(argc)).subspan(2));
    }
    if (!word.empty())
        log::error("no such verb: " + std::string(word));
    print_help(stderr);
    return exit_usage;
}
