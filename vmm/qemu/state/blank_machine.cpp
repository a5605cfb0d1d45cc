// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/blank_machine.h"

#include "monitor/qmp_client.h"
#include "util/gref.h"
#include "util/loop.h"
#include "vmm/qemu/ram_plan.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <unistd.h>

namespace drover::qemu {

namespace {

// Of ours, in QEMU.
constexpr int monitor_fd = 3;
constexpr int first_ram_fd = 4;
constexpr std::chrono::seconds longest_wait{30};

struct GErrorDeleter {
    void operator()(GError* error) const { g_error_free(error); }
};

/// Without what would have it wait for a guest, and with what we need.
std::vector<std::string> blank_command(std::vector<std::string> command, size_t ram)
{
    for (const char* option : {"-incoming", "--incoming"})
        if (const auto found = std::ranges::find(command, option); found != command.end())
            command.erase(found, found + (std::next(found) != command.end() ? 2 : 1));
    size_t next = 0;
    for (std::string& word : command)
        if (const size_t at = word.find(ram_placeholder); at != std::string::npos && next < ram)
            word.replace(at, ram_placeholder.size(),
                         "/proc/self/fd/" + std::to_string(first_ram_fd + next++));
    for (const char* word : {"-S", "-chardev", "socket,id=drover-blank,fd=3", "-mon",
                             "chardev=drover-blank,mode=control"})
        command.emplace_back(word);
    return command;
}

} // namespace

namespace {

UniqueFd nameless_file()
{
    return UniqueFd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

} // namespace

class BlankMachine::Impl {
public:
    Impl(BlankStart start, Done done) : done_(std::move(done)), has_ram_(!start.ram.empty())
    {
        limit_ = loop::after(longest_wait, [this] {
            end(fail(ErrorKind::Machine, "QEMU has not told its machine's form within 30 s"));
        });
        if (const Status begun = begin(std::move(start)); !begun)
            // Not from within the constructor.
            failure_ = loop::after(std::chrono::milliseconds(0),
                                   [this, error = begun.error()] { end(std::unexpected(error)); });
    }
    ~Impl()
    {
        client_.reset();
        if (process_)
            g_subprocess_force_exit(process_.get());
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

private:
    Status begin(BlankStart start)
    {
        if (std::ranges::find(start.command, "-daemonize") != start.command.end())
            return fail(ErrorKind::Invalid, "-daemonize cannot be on the command line here");
        file_ = nameless_file();
        words_ = nameless_file();
        auto pair = socket_pair();
        if (!file_ || !words_ || !pair)
            return pair ? fail_errno("making a file in /tmp", errno) : Status(pass(pair));
        const auto command = blank_command(std::move(start.command), start.ram.size());
        std::vector<const char*> words;
        words.reserve(command.size() + 1);
        for (const std::string& word : command)
            words.push_back(word.c_str());
        words.push_back(nullptr);
        const GRef<GSubprocessLauncher> launcher(
            g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE));
        g_subprocess_launcher_take_fd(launcher.get(), pair->second.release(), monitor_fd);
        auto words_file = words_.duplicate();
        if (!words_file)
            return std::unexpected(words_file.error());
        g_subprocess_launcher_take_stderr_fd(launcher.get(), words_file->release());
        for (size_t i = 0; i < start.ram.size(); ++i)
            g_subprocess_launcher_take_fd(launcher.get(), start.ram[i].release(),
                                          first_ram_fd + static_cast<int>(i));
        // What the guest's own QEMU has preloaded is not for this one.
        g_subprocess_launcher_unsetenv(launcher.get(), "LD_PRELOAD");
        GError* raw = nullptr;
        process_.reset(g_subprocess_launcher_spawnv(launcher.get(), words.data(), &raw));
        const std::unique_ptr<GError, GErrorDeleter> error(raw);
        if (!process_)
            return fail(ErrorKind::Machine, "starting " + command[0] + ": " + error->message);
        talk(std::move(pair->first));
        return {};
    }

    void talk(UniqueFd socket)
    {
        client_ = std::make_unique<QmpClient>(
            std::move(socket),
            QmpClient::Callbacks{[this](const Json& event) { on_event(event); },
                                 [this](const Error&) {
                                     end(fail(ErrorKind::Machine,
                                              "QEMU has ended before it told its machine's form"));
                                 }});
        client_->negotiate(false, step([this](const Json&) { set_capabilities(); }));
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

    void set_capabilities()
    {
        Json list = Json::array({{{"capability", "events"}, {"state", true}}});
        if (has_ram_)
            list.push_back({{"capability", "x-ignore-shared"}, {"state", true}});
        client_->execute("migrate-set-capabilities", {{"capabilities", std::move(list)}},
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
        if (json_string(event, "event") != "MIGRATION" || !event.contains("data"))
            return;
        const std::string status = json_string(event["data"], "status");
        if (status == "completed")
            end({});
        else if (status == "failed")
            end(fail(ErrorKind::Machine, "QEMU cannot save this machine"));
    }

    /// What it has said last: its warnings are those of the guest's own QEMU, and nobody wants them
    /// twice.
    [[nodiscard]] std::string last_words() const
    {
        constexpr off_t most = 1000;
        const off_t size = lseek(words_.get(), 0, SEEK_END);
        std::string text(static_cast<size_t>(std::clamp<off_t>(size, 0, most)), '\0');
        const ssize_t got =
            pread(words_.get(), text.data(), text.size(), size - static_cast<off_t>(text.size()));
        text.resize(got > 0 ? static_cast<size_t>(got) : 0);
        while (text.ends_with('\n'))
            text.pop_back();
        const size_t line = text.rfind('\n');
        return text.empty() ? "" : ": " + text.substr(line == std::string::npos ? 0 : line + 1);
    }

    void end(Status outcome)
    {
        limit_.reset();
        auto done = std::exchange(done_, nullptr);
        if (!done)
            return;
        if (!outcome)
            outcome.error().message += last_words();
        done(outcome ? Result<UniqueFd>(std::move(file_)) : std::unexpected(outcome.error()));
    }

    Done done_;
    bool has_ram_;
    UniqueFd file_;
    UniqueFd words_; ///< its stderr
    GRef<GSubprocess> process_;
    std::unique_ptr<QmpClient> client_;
    loop::Source limit_;
    loop::Source failure_;
};

BlankMachine::BlankMachine(BlankStart start, Done done)
    : impl_(std::make_unique<Impl>(std::move(start), std::move(done)))
{
}

BlankMachine::~BlankMachine() = default;

Result<UniqueFd> save_blank_machine(std::vector<std::string> command)
{
    std::unique_ptr<GMainLoop, decltype(&g_main_loop_unref)> loop(g_main_loop_new(nullptr, 0),
                                                                  &g_main_loop_unref);
    std::optional<Result<UniqueFd>> saved;
    const BlankMachine machine({std::move(command), {}}, [&](Result<UniqueFd> file) {
        saved = std::move(file);
        g_main_loop_quit(loop.get());
    });
    g_main_loop_run(loop.get());
    return std::move(*saved);
}

} // namespace drover::qemu
