// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/migration_progress.h"
#include "tools/verbs.h"

#include <cstdio>
#include <glib-unix.h>
#include <unistd.h>

namespace drover::tools {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds poll_period{200};
constexpr seconds cancel_limit{15};
constexpr unsigned bar_width = 24;

struct MigrateOptions {
    std::string where;
    std::string uri;
    std::optional<milliseconds> timeout;
    bool json = false;
};

Result<MigrateOptions> parse_migrate_options(Words words)
{
    MigrateOptions options;
    std::vector<std::string> plain;
    while (!words.empty()) {
        const bool is_option = words.next_is_option();
        const std::string word = words.take();
        if (!is_option) {
            plain.push_back(word);
        } else if (word == "--json") {
            options.json = true;
        } else if (word == "--timeout") {
            auto value = words.take_value(word);
            if (!value)
                return pass(value);
            auto timeout = parse_seconds(word, *value);
            if (!timeout)
                return pass(timeout);
            options.timeout = *timeout;
        } else {
            return fail(ErrorKind::Invalid, "unknown option " + word);
        }
    }
    if (plain.size() != 2)
        return fail(ErrorKind::Invalid, "a socket and the URI of the destination are needed");
    options.where = plain[0];
    options.uri = plain[1];
    return options;
}

/// Draws on a terminal, writes lines elsewhere: one for each round and change of the status
/// or the link.
class Progress {
public:
    /// With --json, stdout is for the result alone.
    explicit Progress(FILE* out) : out_(out), terminal_(isatty(fileno(out)) != 0) {}

    void show(const MigrationStats& stats)
    {
        const bool begins = stats.round != last_.round || stats.status != last_.status;
        const bool changed = begins || stats.link_error.empty() != last_.link_error.empty();
        if (begins)
            at_start_ = stats.remaining;
        if (changed)
            finish_line();
        last_ = stats;
        if (terminal_) {
            fprintf(out_, "\r%s\033[K", progress_line(stats, at_start_, bar_width).c_str());
            drawn_ = true;
        } else if (changed) {
            fprintf(out_, "%s\n", progress_line(stats, at_start_, 0).c_str());
        }
        fflush(out_);
    }

    void finish_line()
    {
        if (drawn_)
            fputc('\n', out_);
        drawn_ = false;
    }

private:
    FILE* out_;
    bool terminal_;
    bool drawn_ = false; // the cursor is behind a bar
    MigrationStats last_;
    uint64_t at_start_ = 0; // bytes that remained when the round began
};

class MigrateVerb {
public:
    explicit MigrateVerb(MigrateOptions options)
        : options_(std::move(options)), progress_(options_.json ? stderr : stdout)
    {
    }

    int run()
    {
        interrupt_ = loop::Source(g_unix_signal_add(
            SIGINT,
            [](gpointer self) -> gboolean {
                static_cast<MigrateVerb*>(self)->cancel("interrupted");
                return G_SOURCE_CONTINUE;
            },
            this));
        const Status started = run_.start(
            options_.where, [this](const Json& event) { take_event(event); }, [this] { begin(); });
        if (!started)
            run_.fail(started.error());
        if (options_.timeout)
            timer_ = loop::after(*options_.timeout, [this] { cancel("not completed in time"); });
        return run_.run();
    }

private:
    void begin();
    void started(const Result<Json>& reply);
    void take_event(const Json& event);
    void query();
    void take_info(const Json& info);
    void finish(const Json& info, const MigrationStats& stats);
    void cancel(const std::string& why);

    MigrateOptions options_;
    Progress progress_;
    ToolRun run_;
    loop::Source interrupt_;
    loop::Source timer_; // --timeout, then the limit of the cancelling
    loop::Source poll_;
    bool running_ = false;  // the monitor has accepted "migrate"
    bool querying_ = false; // a query-migrate is on its way
    bool cancelling_ = false;
    std::string cancelled_because_;
};

void MigrateVerb::begin()
{
    // Only so that the end is seen at once: where it is refused, polling finds it too.
    const Json events = {{"capability", "events"}, {"state", true}};
    run_.client().execute("migrate-set-capabilities", {{"capabilities", Json::array({events})}},
                          [](const Result<Json>&) {});
    run_.client().execute("migrate", {{"uri", options_.uri}},
                          [this](const Result<Json>& reply) { started(reply); });
}

void MigrateVerb::started(const Result<Json>& reply)
{
    if (!reply)
        return run_.fail(reply.error());
    running_ = true;
    poll_ = loop::every(poll_period, [this] { query(); });
    query();
    if (!cancelled_because_.empty())
        cancel(cancelled_because_);
}

void MigrateVerb::take_event(const Json& event)
{
    const std::string name = json_string(event, "event");
    if (running_ && (name == "MIGRATION" || name == "MIGRATION_PASS"))
        query();
}

void MigrateVerb::query()
{
    // One at a time; the answer to one that is under way may be older than the event, but then the
    // next poll is not far.
    if (std::exchange(querying_, true))
        return;
    run_.client().execute("query-migrate", Json::object(), [this](const Result<Json>& info) {
        querying_ = false;
        if (info)
            take_info(*info);
        else
            run_.fail(info.error());
    });
}

void MigrateVerb::take_info(const Json& info)
{
    const MigrationStats stats = MigrationStats::parse(info);
    progress_.show(stats);
    if (stats.over())
        finish(info, stats);
}

void MigrateVerb::finish(const Json& info, const MigrationStats& stats)
{
    poll_.reset();
    progress_.finish_line();
    if (options_.json)
        printf("%s\n", dump_json(info).c_str());
    const bool completed = stats.status == "completed";
    const std::string why = cancelled_because_.empty() ? "" : " (" + cancelled_because_ + ")";
    if (!completed)
        return run_.fail({ErrorKind::Machine, "migration " + summary(stats) + why, {}});
    if (!options_.json)
        printf("migration %s\n", summary(stats).c_str());
    run_.end(exit_done);
}

/// The migration must not go on unwatched. It may still complete before the cancelling: then that
/// is what is reported.
void MigrateVerb::cancel(const std::string& why)
{
    cancelled_because_ = why;
    if (!run_.ready())
        return run_.fail(monitor_is_silent());
    if (!running_ || cancelling_)
        return; // started() comes back here
    cancelling_ = true;
    timer_ = loop::after(cancel_limit, [this] {
        run_.fail({ErrorKind::Refused, "migration " + cancelled_because_ + ", and not cancelled",
                   "look at it with query-migrate"});
    });
    run_.client().execute("migrate_cancel", Json::object(), [](const Result<Json>&) {});
}

} // namespace

Result<int> run_migrate(Words words)
{
    auto options = parse_migrate_options(words);
    if (!options)
        return pass(options);
    return MigrateVerb(std::move(*options)).run();
}

} // namespace drover::tools
