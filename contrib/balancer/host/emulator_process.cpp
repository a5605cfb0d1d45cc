// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/emulator_process.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <gio/gio.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

constexpr int start_time_field = 22; // proc(5), counted from 1

/// What must be done between fork and exec: system calls only.
struct ChildSetup {
    std::vector<UniqueFd> cgroups;
};

void set_up_child(gpointer data)
{
    const auto* setup = static_cast<const ChildSetup*>(data);
    setsid();
    for (const UniqueFd& cgroup : setup->cgroups)
        (void)!write(cgroup.get(), "0", 1); // a slice that is gone bounds nobody
    signal(SIGPIPE, SIG_DFL);               // what is ignored stays so across exec
}

Result<ChildSetup> open_cgroups(const std::vector<std::string>& paths)
{
    ChildSetup setup;
    for (const std::string& path : paths) {
        UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (!fd)
            return fail_errno("opening " + path + " to put an emulator into its slice", errno);
        setup.cgroups.push_back(std::move(fd));
    }
    return setup;
}

std::vector<const char*> pointers(const std::vector<std::string>& words)
{
    std::vector<const char*> result;
    result.reserve(words.size() + 1);
    for (const std::string& word : words)
        result.push_back(word.c_str());
    result.push_back(nullptr);
    return result;
}

} // namespace

std::optional<ProcessId> process_id(pid_t pid)
{
    const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
    if (!text)
        return std::nullopt;
    // The second field is the name in brackets, which may hold anything: look behind its end.
    size_t at = text->rfind(')');
    if (at == std::string::npos || at + 3 >= text->size() || text->at(at + 2) == 'Z')
        return std::nullopt; // a zombie has ended
    for (int field = 2; field < start_time_field && at != std::string::npos; ++field)
        at = text->find(' ', at + 1);
    uint64_t start = 0;
    if (at == std::string::npos)
        return std::nullopt;
    const char* first = text->data() + at + 1;
    if (std::from_chars(first, text->data() + text->size(), start).ec != std::errc())
        return std::nullopt;
    return ProcessId{pid, start};
}

ProcessWatch::ProcessWatch(ProcessId process, std::function<void()> ended)
    : ended_(std::move(ended))
{
    pidfd_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
    const auto now = process_id(process.pid);
    if (!pidfd_ || now != process) { // it has gone, or its number belongs to another by now
        source_ = loop::after(std::chrono::milliseconds(0), [this] { ended_(); });
        return;
    }
    source_ = loop::watch(pidfd_.get(), G_IO_IN, [this](GIOCondition) {
        source_.reset();
        auto call = std::move(ended_);
        call(); // may destroy us
    });
}

Result<ProcessId> start_emulator(const EmulatorStart& start)
{
    auto setup = open_cgroups(start.cgroups);
    if (!setup)
        return pass(setup);
    GSubprocessLauncher* launcher =
        g_subprocess_launcher_new(static_cast<GSubprocessFlags>(G_SUBPROCESS_FLAGS_STDOUT_SILENCE));
    g_subprocess_launcher_set_stderr_file_path(launcher, start.log.c_str());
    g_subprocess_launcher_set_cwd(launcher, start.directory.c_str());
    g_subprocess_launcher_set_child_setup(launcher, set_up_child, &*setup, nullptr);
    for (const std::string& entry : start.environment) {
        const size_t equals = entry.find('=');
        g_subprocess_launcher_setenv(launcher, entry.substr(0, equals).c_str(),
                                     entry.c_str() + equals + 1, 1);
    }
    if (start.listener >= 0)
        g_subprocess_launcher_take_fd(launcher, dup(start.listener), start.listener);
    GError* error = nullptr;
    GSubprocess* process =
        g_subprocess_launcher_spawnv(launcher, pointers(start.words).data(), &error);
    g_object_unref(launcher);
    if (process == nullptr) {
        const std::string why = error->message;
        g_error_free(error);
        return fail(ErrorKind::System, "starting " + start.words.front() + ": " + why);
    }
    const char* identifier = g_subprocess_get_identifier(process);
    const pid_t pid = identifier != nullptr ? atoi(identifier) : -1;
    // GLib reaps it when it ends, whether somebody holds the object or not.
    const auto id = process_id(pid);
    g_object_unref(process);
    if (!id)
        return fail(ErrorKind::Machine, start.words.front() + " ended at once", "see " + start.log);
    return *id;
}

void end_process(ProcessId process, int signal)
{
    // The descriptor first: what it names cannot become another process after the look.
    const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
    if (pidfd && process_id(process.pid) == process)
        syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
}

std::string last_words(const std::string& log)
{
    constexpr size_t most = 500;
    auto text = read_file(log, 4U << 20);
    if (!text)
        return {};
    while (!text->empty() && text->back() == '\n')
        text->pop_back();
    // QEMU adds a hint behind what went wrong: two lines tell it all.
    size_t from = text->rfind('\n');
    if (from != std::string::npos && from > 0)
        from = text->rfind('\n', from - 1);
    std::string line = from == std::string::npos ? *text : text->substr(from + 1);
    std::replace(line.begin(), line.end(), '\n', ';');
    return line.substr(0, most);
}

} // namespace drover::balancer
