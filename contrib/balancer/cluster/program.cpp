// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/program.h"

#include "contrib/balancer/cluster/balancer_commands.h"
#include "contrib/balancer/cluster/host_link.h"
#include "contrib/balancer/cluster/judging.h"
#include "contrib/balancer/doors/door.h"
#include "util/log.h"

#include <charconv>
#include <csignal>
#include <filesystem>
#include <glib-unix.h>

namespace drover::balancer::cluster {

namespace {

constexpr std::chrono::milliseconds tick_period{100};

int fail_with(const Error& error)
{
    log::error(error.text());
    return 1;
}

/// Its directory is made if need be. A journal that cannot be opened now (a full disk) is mended
/// later; one that is another's, or a newer Drover's, is left alone, and so is the fleet.
Result<std::unique_ptr<Journal>> open_journal(const Config& config, const TimeSource& time)
{
    std::error_code ignored;
    const auto parent = std::filesystem::path(config.journal).parent_path();
    if (!parent.empty() && std::filesystem::create_directories(parent, ignored))
        std::filesystem::permissions(parent, std::filesystem::perms::owner_all, ignored);
    auto journal = Journal::open(config.journal, time);
    if (journal) {
        if (!(*journal)->notice().empty())
            log::warning((*journal)->notice());
        return journal;
    }
    const ErrorKind kind = journal.error().kind;
    if (kind == ErrorKind::Refused || kind == ErrorKind::Incompatible)
        return journal;
    log::error(journal.error().text() + "; no migration is begun until it can be written");
    return Journal::unopened(config.journal, time, journal.error());
}

/// How many times the balancer was started with this journal.
int next_run(Journal& journal)
{
    const std::string text = journal.get("run").value_or("");
    int run = 0;
    std::from_chars(text.data(), text.data() + text.size(), run);
    ++run;
    if (Status kept = journal.set("run", std::to_string(run)); !kept)
        log::warning(kept.error().text());
    return run;
}

gboolean quit(gpointer main_loop)
{
    g_main_loop_quit(static_cast<GMainLoop*>(main_loop));
    return G_SOURCE_CONTINUE;
}

gboolean reload(gpointer balancer)
{
    (void)static_cast<Balancer*>(balancer)->reload(); // it logs what is wrong
    return G_SOURCE_CONTINUE;
}

Status open_doors(DoorServer& server, const Config& config,
                  const std::shared_ptr<TlsIdentity>& identity)
{
    for (const std::string& address : config.listen) {
        const auto open = server.add({.address = address, .group = "", .identity = identity});
        if (!open)
            return std::unexpected(open.error());
        log::info("listening on " + *open);
    }
    return {};
}

int serve(const Config& config, const std::string& config_file, Journal& journal,
          const TimeSource& time)
{
    std::shared_ptr<TlsIdentity> identity;
    if (config.tls)
        identity = std::make_shared<TlsIdentity>(
            TlsFiles{config.tls->ca, config.tls->cert, config.tls->key});
    const int run = next_run(journal);
    Judging judging(time, run);
    const Json greeting = make_greeting("drover-balancer");
    CommandTable table(greeting.value("version", Json::object()));
    DoorServer server(greeting, table);
    Balancer balancer(
        config,
        {.journal = journal,
         .judgement = judging,
         .time = time,
         .make_link =
             [identity](const HostConfig& host, std::function<void(const Json&)> event) {
                 return std::make_unique<HostLink>(host.name, host.address, identity,
                                                   std::move(event));
             },
         .config_file = config_file,
         .run = run,
         .event = [&server](const std::string& name,
                            Json data) { server.broadcast(make_event(name, std::move(data))); }});
    add_commands(table, balancer);
    if (Status open = open_doors(server, config, identity); !open)
        return fail_with(open.error());
    GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
    const loop::Source signals[] = {loop::Source(g_unix_signal_add(SIGTERM, quit, main_loop)),
                                    loop::Source(g_unix_signal_add(SIGINT, quit, main_loop)),
                                    loop::Source(g_unix_signal_add(SIGHUP, reload, &balancer))};
    const loop::Source timer = loop::every(tick_period, [&balancer] { balancer.tick(); });
    log::info("mode " + std::string(to_string(balancer.mode())) + ", " +
              std::to_string(config.hosts.size()) + " hosts");
    g_main_loop_run(main_loop);
    g_main_loop_unref(main_loop);
    return 0;
}

} // namespace

int run_balancer(const std::string& config_file)
{
    const ConfigReading reading = read_config_file(config_file);
    for (const ConfigFault& fault : reading.faults)
        log::error(describe(config_file, fault));
    if (!reading.faults.empty())
        return 1;
    const RealTime time;
    auto journal = open_journal(reading.config, time);
    if (!journal)
        return fail_with(journal.error());
    return serve(reading.config, config_file, **journal, time);
}

} // namespace drover::balancer::cluster
