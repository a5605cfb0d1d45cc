// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/blank_machine.h"

#include "monitor/qmp_client.h"
#include "util/gref.h"
#include "util/loop.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>

namespace drover::qemu {

namespace {

constexpr int monitor_fd = 3; ///< of ours, in QEMU
constexpr std::chrono::seconds longest_wait{30};

struct GErrorDeleter {
    void operator()(GError* error) const { g_error_free(error); }
};

class BlankRun {
public:
    explicit BlankRun(UniqueFd file) : file_(std::move(file)), loop_(g_main_loop_new(nullptr, 0)) {}
    ~BlankRun()
    {
        client_.reset();
        if (process_)
            g_subprocess_force_exit(process_.get());
        g_main_loop_unref(loop_);
    }
    BlankRun(const BlankRun&) = delete;
    BlankRun& operator=(const BlankRun&) = delete;

    Result<UniqueFd> run(const std::vector<std::string>& command)
    {
        if (const Status started = start(command); !started)
            return std::unexpected(started.error());
        limit_ = loop::after(longest_wait, [this] {
            end(fail(ErrorKind::Machine, "QEMU has not told its machine's form within 30 s"));
        });
        client_->negotiate(false, step([this](const Json&) { enable_events(); }));
        if (!outcome_)
            g_main_loop_run(loop_);
        if (!*outcome_)
            return std::unexpected(outcome_->error());
        return std::move(file_);
    }

private:
    Status start(const std::vector<std::string>& command)
    {
        auto pair = socket_pair();
        if (!pair)
            return std::unexpected(pair.error());
        std::vector<const char*> words;
        for (const std::string& word : command)
            words.push_back(word.c_str());
        words.push_back(nullptr);
        const GRef<GSubprocessLauncher> launcher(
            g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE));
        g_subprocess_launcher_take_fd(launcher.get(), pair->second.release(), monitor_fd);
        GError* raw = nullptr;
        process_.reset(g_subprocess_launcher_spawnv(launcher.get(), words.data(), &raw));
        const std::unique_ptr<GError, GErrorDeleter> error(raw);
        if (!process_)
            return fail(ErrorKind::Machine, "starting " + command[0] + ": " + error->message);
        client_ = std::make_unique<QmpClient>(
            std::move(pair->first),
            QmpClient::Callbacks{[this](const Json& event) { on_event(event); },
                                 [this](const Error&) {
                                     end(fail(ErrorKind::Machine,
                                              "QEMU has ended before it told its machine's form",
                                              "it says above why"));
                                 }});
        return {};
    }

    /// A reply that is no error goes on.
    QmpClient::Reply step(std::function<void(const Json&)> next)
    {
        return [this, next = std::move(next)](const Result<Json>& reply) {
            if (reply)
                next(*reply);
            else
                end(std::unexpected(reply.error()));
        };
    }

    void enable_events()
    {
        const Json events = {{"capability", "events"}, {"state", true}};
        client_->execute("migrate-set-capabilities", {{"capabilities", Json::array({events})}},
                         step([this](const Json&) { give_file(); }));
    }

    void give_file()
    {
        auto file = file_.duplicate();
        if (!file)
            return end(std::unexpected(file.error()));
        std::vector<UniqueFd> fds;
        fds.push_back(std::move(*file));
        client_->execute(
            "getfd", {{"fdname", "blank"}}, step([this](const Json&) {
                client_->execute("migrate", {{"uri", "fd:blank"}}, step([](const Json&) {}));
            }),
            std::move(fds));
    }

    void on_event(const Json& event)
    {
        if (json_string(event, "event") != "MIGRATION")
            return;
        const std::string status = json_string(event["data"], "status");
        if (status == "completed")
            end({});
        else if (status == "failed")
            end(fail(ErrorKind::Machine, "QEMU cannot save this machine", "it says above why"));
    }

    void end(Status outcome)
    {
        if (!outcome_)
            outcome_ = std::move(outcome);
        g_main_loop_quit(loop_);
    }

    UniqueFd file_;
    GMainLoop* loop_;
    GRef<GSubprocess> process_;
    std::unique_ptr<QmpClient> client_;
    loop::Source limit_;
    std::optional<Status> outcome_;
};

/// Without what would have it wait for a guest, and with what we need.
std::vector<std::string> blank_command(std::vector<std::string> command)
{
    for (const char* option : {"-incoming", "--incoming"})
        if (const auto found = std::ranges::find(command, option); found != command.end())
            command.erase(found, found + (std::next(found) != command.end() ? 2 : 1));
    for (const char* word : {"-S", "-chardev", "socket,id=drover-blank,fd=3", "-mon",
                             "chardev=drover-blank,mode=control"})
        command.emplace_back(word);
    return command;
}

} // namespace

Result<UniqueFd> save_blank_machine(std::vector<std::string> command)
{
    if (std::ranges::find(command, "-daemonize") != command.end())
        return fail(ErrorKind::Invalid, "-daemonize cannot be on the command line here");
    UniqueFd file(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file)
        return fail_errno("making a file in /tmp", errno);
    return BlankRun(std::move(file)).run(blank_command(std::move(command)));
}

} // namespace drover::qemu
