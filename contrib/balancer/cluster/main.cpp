// SPDX-License-Identifier: GPL-2.0-or-later
//
// drover-balancer: watches a fleet of hosts, and moves guests away from where it is hot.
#include "contrib/balancer/cluster/config.h"
#include "contrib/balancer/cluster/program.h"
#include "contrib/balancer/simulate/simulate_command.h"
#include "util/log.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

namespace drover::balancer::cluster {

namespace {

constexpr const char* default_config = "/etc/drover/fleet.toml";
constexpr const char* help =
    "drover-balancer [--config FILE] [--check [--json]]\n"
    "drover-balancer simulate [FILE] [--hosts N] [--vms N] [--rounds R] [--seed S] [--json]\n"
    "\n"
    "  --config FILE  the fleet (default: /etc/drover/fleet.toml)\n"
    "  --check        only look whether the file is good; the exit code is 0 if it is, else 1\n"
    "  --json         tell what --check found as JSON\n"
    "  --verbose      log more\n"
    "\n"
    "SIGHUP reads the file again; one that is not good changes nothing. \"simulate --help\" tells\n"
    "of simulations.\n";

struct Arguments {
    std::string config = default_config;
    bool check = false;
    bool json = false;
    bool help = false;
    bool version = false;
};

Result<Arguments> parse(std::span<char*> words)
{
    Arguments arguments;
    for (size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word == "--config" && i + 1 < words.size())
            arguments.config = words[++i];
        else if (word.starts_with("--config="))
            arguments.config = word.substr(9);
        else if (word == "--check")
            arguments.check = true;
        else if (word == "--json")
            arguments.json = true;
        else if (word == "--verbose")
            log::set_verbose(true);
        else if (word == "--help" || word == "-h")
            arguments.help = true;
        else if (word == "--version")
            arguments.version = true;
        else
            return fail(ErrorKind::Invalid, "'" + std::string(word) + "' is not understood",
                        "see drover-balancer --help");
    }
    if (arguments.json && !arguments.check)
        return fail(ErrorKind::Invalid, "--json goes with --check", "see drover-balancer --help");
    return arguments;
}

int balancer_main(std::span<char*> argv)
{
    signal(SIGPIPE, SIG_IGN);
    log::set_program("drover-balancer");
    log::set_verbose(getenv("DROVER_DEBUG") != nullptr);
    if (argv.size() > 1 && std::string_view(argv[1]) == "simulate") {
        const auto status = run_simulate(argv.subspan(2));
        if (status)
            return *status;
        log::error(status.error().text());
        return 2;
    }
    const auto arguments = parse(argv.empty() ? argv : argv.subspan(1));
    if (!arguments) {
        log::error(arguments.error().text());
        return 2;
    }
    if (arguments->help) {
        fputs(help, stdout);
        return 0;
    }
    if (arguments->version) {
        puts("drover-balancer " DROVER_VERSION);
        return 0;
    }
    if (arguments->check)
        return check_config(arguments->config, arguments->json);
    return run_balancer(arguments->config);
}

} // namespace

} // namespace drover::balancer::cluster

int main(int argc, char** argv)
{
    return drover::balancer::cluster::balancer_main(std::span(argv, static_cast<size_t>(argc)));
}
