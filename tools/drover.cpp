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
    {"check-migration", check_migration_usage,
     "  Tells beforehand whether a guest can go there, what speaks against it, and what will be\n"
     "  different for it. No memory is sent, and the guest runs on. Exit codes: 0 it can, 1 it\n"
     "  cannot, 2 wrong usage, 3 that could not be found out.\n",
     run_check_migration},
    {"cpu-baseline", cpu_baseline_usage,
     "  Computes the CPU that guests can have on all of these hosts, as words for -cpu. A HOST is "
     "a\n"
     "  host of the fleet, the monitor of a QEMU (with / or :), or a file that --describe has\n"
     "  written there (with a dot or /).\n",
     run_cpu_baseline},
    {"report", report_usage,
     "  Draws a migration as an SVG picture. FILE is what \"drover migrate --json\" printed, or "
     "what\n"
     "  query-migrate returned at the source.\n",
     run_report},
    {"inspect", inspect_usage,
     "  Tells what a saved guest holds: a file that QEMU's migration to file: or exec:, virsh\n"
     "  save or xl save has written. Its memory and devices; with --section one device, field by\n"
     "  field (of Xen's the bytes); with --json all of it; with --state the machine as all\n"
     "  hypervisors have it, in JSON.\n",
     run_inspect},
    {"convert", convert_usage,
     "  Makes a saved guest (of QEMU's, virsh's, xl's) one that another hypervisor can load: a "
     "QEMU,\n"
     "  whose command line stands behind --, or Xen (xl restore). Prints what will not be as it "
     "was.\n",
     run_convert},
    {"top", top_usage,
     "  Shows the fleet: hosts, VMs, hotspots, the plan, migrations. On a terminal live, until q "
     "is\n"
     "  pressed; otherwise, or with --once, as it is now.\n",
     run_top},
    {"hosts", hosts_usage, "  Lists the hosts with their load.\n", run_hosts},
    {"vms", vms_usage, "  Lists the VMs with their load.\n", run_vms},
    {"plan", plan_usage, "  Shows what the balancer would do, and why.\n", run_plan},
    {"explain", explain_usage, "  Explains a hotspot, a plan, a move or a migration.\n",
     run_explain},
    {"approve", approve_usage, "  Lets a plan, or one of its moves, be carried out.\n",
     run_approve},
    {"cancel", cancel_usage, "  Cancels a migration that the balancer has begun.\n", run_cancel},
    {"migrate", fleet_migrate_usage,
     "  Has the balancer move a VM, to a host of its choice or to this one.\n", run_fleet_migrate},
    {"evacuate", evacuate_usage,
     "  Moves all VMs off a host, and none there; --cancel takes that back.\n", run_evacuate},
    {"history", history_usage, "  Tells what the balancer has done.\n", run_history},
    {"mode", mode_usage, "  Tells or sets what the balancer may do by itself.\n", run_mode},
};

void print_help(FILE* out)
{
    fprintf(out, "Usage:\n");
    for (const Verb& verb : verbs)
        fprintf(out, "%s%s", verb.usage, verb.help);
    fprintf(out,
            "SOCKET is a UNIX socket's path, HOST:PORT, unix:PATH or tcp:HOST:PORT.\n"
            "From top on, with the balancer: --json prints its answer; --balancer ADDRESS says "
            "where it\n"
            "is, unix:PATH or tls:HOST:PORT (default: $DROVER_BALANCER, else "
            "unix:/run/drover/balancer.sock);\n"
            "for tls, --tls-ca, --tls-cert and --tls-key FILE (default: $DROVER_TLS_CA, "
            "..._CERT, ..._KEY);\n"
            "--colour auto, always or never (default: on a terminal; the width elsewhere: "
            "$COLUMNS).\n"
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
    const std::span all(argv, static_cast<size_t>(argc));
    for (const Verb& verb : verbs) {
        // Two verbs have this name: of a guest at a monitor, and of a VM of the fleet.
        if (word == verb.name && (word != "migrate" || is_fleet_migrate(Words(all.subspan(2))) ==
                                                           (verb.run == run_fleet_migrate)))
            return run_verb(verb, all.subspan(2));
    }
    if (!word.empty())
        log::error("no such verb: " + std::string(word));
    print_help(stderr);
    return exit_usage;
}
