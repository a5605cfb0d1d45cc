// SPDX-License-Identifier: GPL-2.0-or-later
//
// droverd: measures its host and the VMs there, starts and ends VMs, and is their door.
#include "contrib/balancer/host/droverd.h"
#include "util/log.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <glib-unix.h>
#include <span>
#include <string_view>

namespace {

using namespace drover;
using namespace drover::balancer;

constexpr char usage[] = "usage: droverd [--config FILE] [--check]\n"
                         "  --config FILE  default: /etc/drover/droverd.toml if it is there, else "
                         "defaults\n"
                         "  --check        reads the configuration, says what is wrong, and ends\n"
                         "  --help, --version\n";
constexpr char default_file[] = "/etc/drover/droverd.toml";

struct Options {
    std::string config;
    bool check = false;
};

int fail_with(const Error& error)
{
    log::error(error.text());
    return 1;
}

Result<DroverdConfig> read_config(const std::string& file)
{
    if (!file.empty())
        return read_droverd_config(file);
    if (g_file_test(default_file, G_FILE_TEST_EXISTS) != 0)
        return read_droverd_config(default_file);
    return default_droverd_config();
}

gboolean quit(gpointer main_loop)
{
    g_main_loop_quit(static_cast<GMainLoop*>(main_loop));
    return G_SOURCE_CONTINUE;
}

int run(DroverdConfig config)
{
    GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
    Droverd daemon(std::move(config));
    if (const Status started = daemon.start(); !started)
        return fail_with(started.error());
    // Ending us leaves the VMs alone: the next droverd finds them.
    for (const int signal : {SIGTERM, SIGINT})
        g_unix_signal_add(signal, quit, main_loop);
    g_main_loop_run(main_loop);
    g_main_loop_unref(main_loop);
    return 0;
}

} // namespace

int main(int argc, char** argv)
{
    signal(SIGPIPE, SIG_IGN);
    log::set_program("droverd");
    log::set_verbose(getenv("DROVER_DEBUG") != nullptr);
    Options options;
    const std::span<char*> words(argv + 1, static_cast<size_t>(argc > 0 ? argc - 1 : 0));
    for (size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word == "--config" && i + 1 < words.size()) {
            options.config = words[++i];
        } else if (word == "--check") {
            options.check = true;
        } else if (word == "--version") {
            printf("droverd %s\n", DROVER_VERSION);
            return 0;
        } else {
            const bool asked = word == "--help" || word == "-h";
            fprintf(asked ? stdout : stderr, "%s", usage);
            return asked ? 0 : 2;
        }
    }
    auto config = read_config(options.config);
    if (!config)
        return fail_with(config.error());
    if (options.check) {
        if (const Status readable = check_droverd_files(*config); !readable)
            return fail_with(readable.error());
        const bool defaults =
            options.config.empty() && g_file_test(default_file, G_FILE_TEST_EXISTS) == 0;
        printf("%s: %s\n", options.config.empty() ? default_file : options.config.c_str(),
               defaults ? "it is not there, and need not be: all is as by default" : "all right");
        return 0;
    }
    return run(std::move(*config));
}
