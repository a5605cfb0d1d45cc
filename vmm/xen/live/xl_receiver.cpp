// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xl_receiver.h"

#include "util/defect.h"
#include "util/gref.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace drover::xen {

namespace {

using namespace std::string_view_literals;

// What xl and its counterpart say to each other (tools/xl/xl_migrate.c); zeros end most of them.
constexpr auto ready_words = "xl migration receiver ready, send binary domain data.\n"sv;
constexpr auto received_words = "domain received, ready to unpause\0"sv;
constexpr auto permission_words = "domain is yours, you are cleared to unpause\0"sv;
constexpr auto report_words = "my copy unpause results are as follows\0"sv;

/// For xl's words: the end to read from, and xl's own, which is one to read from, too. When we have
/// died xl destroys a domain that it was not permitted to run only if it could say so before.
Result<std::pair<UniqueFd, UniqueFd>> pipe_of_words()
{
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail_errno("making a pipe", errno);
    UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    const std::string both = "/proc/self/fd/" + std::to_string(writer.get());
    UniqueFd words(open(both.c_str(), O_RDWR | O_CLOEXEC));
    if (!words)
        return fail_errno("opening a pipe", errno);
    return std::pair(std::move(reader), std::move(words));
}

} // namespace

Result<std::unique_ptr<XlReceiver>> XlReceiver::start(Callbacks callbacks)
{
    auto input = socket_pair(); // no pipe: who is writing can be made to stop
    auto output = pipe_of_words();
    if (!input || !output)
        return input ? pass(output) : pass(input);
    const GRef<GSubprocessLauncher> launcher(g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE));
    g_subprocess_launcher_take_stdin_fd(launcher.get(), input->second.release());
    g_subprocess_launcher_take_stdout_fd(launcher.get(), output->second.release());
    const char* argv[] = {"xl", "migrate-receive", nullptr};
    GError* error = nullptr;
    const GRef<GSubprocess> xl(g_subprocess_launcher_spawnv(launcher.get(), argv, &error));
    if (!xl) {
        const std::string why = error->message;
        g_error_free(error);
        return fail(ErrorKind::System, why, "run it as root, in Dom0, with Xen's tools");
    }
    (void)set_nonblocking(output->first.get(), true);
    std::unique_ptr<XlReceiver> receiver(
        new XlReceiver(std::move(input->first), std::move(output->first), std::move(callbacks)));
    receiver->wait_for(xl.get());
    return receiver;
}

XlReceiver::XlReceiver(UniqueFd input, UniqueFd output, Callbacks callbacks)
    : input_(std::move(input)), output_(std::move(output)), callbacks_(std::move(callbacks))
{
    watch_ = loop::watch(output_.get(), G_IO_IN, [this](GIOCondition) { read_output(); });
}

XlReceiver::~XlReceiver()
{
    *alive_ = false;
    break_off();
}

void XlReceiver::break_off()
{
    shutdown(input_.get(), SHUT_RDWR); // others may have it, too
}

/// Its processes may outlive it, with its output: only its own end tells.
void XlReceiver::wait_for(GSubprocess* xl)
{
    struct Waiting {
        XlReceiver* receiver;
        std::shared_ptr<bool> alive;
    };
    const auto done = [](GObject* object, GAsyncResult* result, gpointer data) {
        const std::unique_ptr<Waiting> waiting(static_cast<Waiting*>(data));
        auto* ended = reinterpret_cast<GSubprocess*>(object);
        g_subprocess_wait_finish(ended, result, nullptr);
        defects::contain([&] {
            if (*waiting->alive)
                waiting->receiver->exited(g_subprocess_get_if_signaled(ended) == TRUE);
        });
    };
    g_subprocess_wait_async(xl, nullptr, done, new Waiting{this, alive_});
}

void XlReceiver::exited(bool killed)
{
    if (watch_)
        read_output(); // its last words
    if (std::exchange(phase_, Phase::Over) != Phase::Over)
        callbacks_.failed({ErrorKind::Machine, "xl could not take the guest (its words are above)",
                           "xl's log is in /var/log/xen"},
                          killed);
}

Status XlReceiver::permit()
{
    phase_ = Phase::Permitted;
    if (write(input_.get(), permission_words.data(), permission_words.size()) !=
        static_cast<ssize_t>(permission_words.size()))
        return fail_errno("giving the domain to xl", errno);
    return {};
}

void XlReceiver::read_output()
{
    std::array<char, 4096> buffer;
    const ssize_t n = read(output_.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        said_.append(buffer.data(), static_cast<size_t>(n));
        return heard();
    }
    watch_.reset();
}

bool XlReceiver::take(std::string_view words)
{
    const size_t at = said_.find(words);
    if (at == std::string::npos)
        return false;
    said_.erase(0, at + words.size());
    return true;
}

void XlReceiver::heard()
{
    if (phase_ == Phase::Starting && take(ready_words)) {
        phase_ = Phase::Receiving;
        callbacks_.ready();
    } else if (phase_ == Phase::Receiving && take(received_words)) {
        phase_ = Phase::Received;
        callbacks_.received();
    } else if (phase_ == Phase::Permitted) {
        const size_t at = said_.find(report_words);
        if (at == std::string::npos || said_.size() <= at + report_words.size())
            return;
        phase_ = Phase::Over;
        callbacks_.ended(said_[at + report_words.size()] == 0);
    }
}

} // namespace drover::xen
