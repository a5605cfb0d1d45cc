// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/process.h"

#include "util/loop.h"
#include "util/write_fd.h"
#include "vmm/qemu/spawn.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover::qemu {

namespace {

constexpr size_t last_words_limit = 4096;

/// The terminal as it was before QEMU, which puts it into raw mode and may die without undoing it.
class SavedTerminal {
public:
    SavedTerminal()
    {
        termios now{};
        if (tcgetattr(STDIN_FILENO, &now) == 0)
            saved_ = now;
    }

    void restore()
    {
        if (!saved_)
            return;
        // Changing the terminal from the background would stop us.
        sigset_t stop;
        sigset_t before;
        sigemptyset(&stop);
        sigaddset(&stop, SIGTTOU);
        pthread_sigmask(SIG_BLOCK, &stop, &before);
        tcsetattr(STDIN_FILENO, TCSANOW, &*saved_);
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        saved_.reset();
    }

private:
    std::optional<termios> saved_;
};

/// What a stderr that nobody reads does not take is dropped: the loop waits for nobody.
void write_what_fits(int fd, const char* data, size_t size)
{
    while (size > 0) {
        const ssize_t written = write_without_blocking(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; // gone or stuck; the last words are still kept
        data += written;
        size -= static_cast<size_t>(written);
    }
}

} // namespace

std::string ExitStatus::text() const
{
    if (signal == 0)
        return "exited with code " + std::to_string(code);
    const char* name = sigabbrev_np(signal);
    return "was killed by " +
           (name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal));
}

class QemuProcess::Impl {
public:
    Impl(Spawned spawned, SavedTerminal terminal, Exited exited)
        : pid(spawned.pid), pidfd(std::move(spawned.pidfd)), stderr_fd(std::move(spawned.errors)),
          terminal_(terminal), exited_(std::move(exited))
    {
    }

    ~Impl()
    {
        if (!running)
            return;
        pidfd_send_signal(pidfd.get(), SIGKILL, nullptr, 0);
        reap(0);
        read_stderr();
    }

    void watch()
    {
        exit_source_ = loop::watch(pidfd.get(), G_IO_IN, [this](GIOCondition) { on_exit(); });
        stderr_source_ = loop::watch(stderr_fd.get(), G_IO_IN, [this](GIOCondition) {
            if (!read_stderr())
                stderr_source_.reset();
        });
    }

    pid_t pid;
    UniqueFd pidfd;
    UniqueFd stderr_fd;
    std::string last_words;
    bool running = true;

private:
    /// Copies what is there. False at its end.
    bool read_stderr()
    {
        char buffer[4096];
        while (true) {
            const ssize_t n = read(stderr_fd.get(), buffer, sizeof buffer);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 && errno == EAGAIN;
            write_what_fits(STDERR_FILENO, buffer, static_cast<size_t>(n));
            last_words.append(buffer, static_cast<size_t>(n));
            if (last_words.size() > last_words_limit)
                last_words.erase(0, last_words.size() - last_words_limit);
        }
    }

    /// Stopping (SIGSTOP) is no exit: only WEXITED is asked for.
    std::optional<ExitStatus> reap(int options)
    {
        siginfo_t info{};
        int rc = 0;
        do
            rc = waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | options);
        while (rc < 0 && errno == EINTR);
        if (rc == 0 && info.si_pid == 0)
            return std::nullopt;
        running = false;
        terminal_.restore();
        if (rc < 0)
            return ExitStatus{-1, 0}; // somebody else reaped our child
        return info.si_code == CLD_EXITED ? ExitStatus{info.si_status, 0}
                                          : ExitStatus{0, info.si_status};
    }

    void on_exit()
    {
        const auto status = reap(WNOHANG);
        if (!status)
            return;
        // What QEMU left in the pipe, and no more: a grandchild may hold its other end open.
        read_stderr();
        exit_source_.reset();
        stderr_source_.reset();
        const Exited exited = std::move(exited_);
        std::string words = std::move(last_words);
        last_words = words;
        if (exited)
            exited(*status, std::move(words)); // may destroy us
    }

    SavedTerminal terminal_;
    Exited exited_;
    loop::Source exit_source_;
    loop::Source stderr_source_;
};

QemuProcess::QemuProcess(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QemuProcess::~QemuProcess() = default;

Result<std::unique_ptr<QemuProcess>> QemuProcess::spawn(const SpawnRequest& request, Exited exited)
{
    const SavedTerminal terminal;
    auto spawned = spawn_child(request);
    if (!spawned)
        return pass(spawned);
    auto impl = std::make_unique<Impl>(std::move(*spawned), terminal, std::move(exited));
    impl->watch();
    return std::unique_ptr<QemuProcess>(new QemuProcess(std::move(impl)));
}

pid_t QemuProcess::pid() const
{
    return impl_->pid;
}

bool QemuProcess::running() const
{
    return impl_->running;
}

const std::string& QemuProcess::last_words() const
{
    return impl_->last_words;
}

void QemuProcess::kill(int signal)
{
    if (impl_->running)
        pidfd_send_signal(impl_->pidfd.get(), signal, nullptr, 0);
}

} // namespace drover::qemu
