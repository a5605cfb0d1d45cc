// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xl_receiver.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <glib.h>
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
    const char* argv[] = {"xl", "migrate-receive", nullptr};
    GError* error = nullptr;
    if (g_spawn_async_with_fds(nullptr, const_cast<gchar**>(argv), nullptr, G_SPAWN_SEARCH_PATH,
                               nullptr, nullptr, nullptr, input->second.get(), output->second.get(),
                               -1, &error) != TRUE) {
        const std::string why = error->message;
        g_error_free(error);
        return fail(ErrorKind::System, why, "run it as root, in Dom0, with Xen's tools");
    }
    (void)set_nonblocking(output->first.get(), true);
    return std::unique_ptr<XlReceiver>(
        new XlReceiver(std::move(input->first), std::move(output->first), std::move(callbacks)));
}

XlReceiver::XlReceiver(UniqueFd input, UniqueFd output, Callbacks callbacks)
    : input_(std::move(input)), output_(std::move(output)), callbacks_(std::move(callbacks))
{
    watch_ = loop::watch(output_.get(), G_IO_IN, [this](GIOCondition) { read_output(); });
}

XlReceiver::~XlReceiver()
{
    break_off();
}

void XlReceiver::break_off()
{
    shutdown(input_.get(), SHUT_RDWR); // others may have it, too
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
    if (std::exchange(phase_, Phase::Over) != Phase::Over)
        callbacks_.failed({ErrorKind::Machine, "xl could not take the guest (its words are above)",
                           "xl's log is in /var/log/xen"});
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
