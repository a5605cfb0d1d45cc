// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/process.h"

#include "util/loop.h"
#include "util/write_fd.h"
#include "vmm/qemu/tracker/handover.h"

#include <cerrno>
#include <csignal>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover::qemu {

namespace {

constexpr size_t last_words_limit = 4096;

/// The library ends QEMU as soon as the signal is delivered.
constexpr std::chrono::seconds patience{1};

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

class QemuProcess::Impl {
public:
    Impl(StartedQemu started, Exited exited) : qemu(std::move(started)), exited_(std::move(exited))
    {
        exit_source_ = loop::watch(qemu.pidfd.get(), G_IO_IN, [this](GIOCondition) { on_exit(); });
        stderr_source_ = loop::watch(qemu.errors.get(), G_IO_IN, [this](GIOCondition) {
            if (!read_stderr())
                stderr_source_.reset();
        });
        if (qemu.farewell)
            farewell_source_ = loop::watch(qemu.farewell.get(), G_IO_IN,
                                           [this](GIOCondition) { answer_farewell(); });
    }

    ~Impl()
    {
        if (!running)
            return;
        send(SIGKILL);
        pollfd ended{qemu.pidfd.get(), POLLIN, 0};
        while (poll(&ended, 1, -1) < 0 && errno == EINTR) {
        }
        qemu.terminal.restore();
        read_stderr();
    }

    void send(int signal)
    {
        if (running)
            pidfd_send_signal(qemu.pidfd.get(), signal, nullptr, 0);
    }

    void end_as_failed()
    {
        send(end_as_failed_signal());
        patience_ = loop::after(patience, [this] { send(SIGKILL); });
    }

    StartedQemu qemu;
    std::string last_words;
    bool running = true;

private:
    /// Copies what is there. False at its end.
    bool read_stderr()
    {
        char buffer[4096];
        while (true) {
            const ssize_t n = read(qemu.errors.get(), buffer, sizeof buffer);
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

    /// It is about to end, and waits for us.
    void answer_farewell()
    {
        char byte = 0;
        if (recv(qemu.farewell.get(), &byte, 1, MSG_DONTWAIT) != 1) {
            farewell_source_.reset();
            return;
        }
        read_stderr();
        // Nobody waits any more, or there is room.
        (void)::send(qemu.farewell.get(), &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    void on_exit()
    {
        const auto status = exit_status_of(qemu.pid, qemu.pidfd.get());
        running = false;
        if (!status || status->signal != 0)
            qemu.terminal.restore();
        // What QEMU left in the pipe, and no more: a child of its may hold the other end open.
        read_stderr();
        exit_source_.reset();
        stderr_source_.reset();
        farewell_source_.reset();
        patience_.reset();
        const Exited exited = std::move(exited_);
        std::string words = std::move(last_words);
        last_words = words;
        if (exited)
            exited(status, std::move(words)); // may destroy us
    }

    Exited exited_;
    loop::Source exit_source_;
    loop::Source stderr_source_;
    loop::Source farewell_source_;
    loop::Source patience_;
};

QemuProcess::QemuProcess(StartedQemu qemu, Exited exited)
    : impl_(std::make_unique<Impl>(std::move(qemu), std::move(exited)))
{
}
QemuProcess::~QemuProcess() = default;

pid_t QemuProcess::pid() const
{
    return impl_->qemu.pid;
}

int QemuProcess::pidfd() const
{
    return impl_->qemu.pidfd.get();
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
    impl_->send(signal);
}

void QemuProcess::end_as_failed()
{
    impl_->end_as_failed();
}

} // namespace drover::qemu
