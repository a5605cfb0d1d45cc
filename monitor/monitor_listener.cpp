// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/monitor_listener.h"

#include "util/log.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace drover {

namespace {

using Kind = MonitorEndpoint::Kind;

Result<UniqueFd> adopt_connected(int number)
{
    UniqueFd fd(number);
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
        return fail(ErrorKind::Invalid,
                    "file descriptor " + std::to_string(number) + " is not a stream socket",
                    "the parent process must pass one that is connected");
    if (Status set = set_close_on_exec(number, true); !set)
        return pass(set);
    return fd;
}

/// Zero and one themselves stay open: closing them would let a later open() take their numbers.
Result<UniqueFd> copy_of(int number)
{
    const int copy = fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return fail_errno("standard input or output as a monitor", errno);
    return UniqueFd(copy);
}

} // namespace

Result<std::unique_ptr<MonitorListener>> MonitorListener::open(const MonitorEndpoint& endpoint)
{
    std::unique_ptr<MonitorListener> self(new MonitorListener(endpoint));
    if (Status prepared = self->prepare(); !prepared)
        return std::unexpected(std::move(prepared.error()).in("QMP monitor"));
    return self;
}

Status MonitorListener::prepare()
{
    const auto keep = [](auto result, auto& place) -> Status {
        if (!result)
            return pass(result);
        place = std::move(*result);
        return {};
    };
    switch (endpoint_.kind) {
    case Kind::UnixListen:
    case Kind::TcpListen:
    case Kind::ListenFd: return keep(listen_on_endpoint(endpoint_), listening_);
    case Kind::ConnectedFd: return keep(adopt_connected(endpoint_.fd), first_in_);
    case Kind::UnixConnect:
    case Kind::TcpConnect:
        // One that may come later must not hold up or fail the start.
        return endpoint_.reconnect_s > 0 ? Status{}
                                         : keep(connect_to_endpoint(endpoint_), first_in_);
    case Kind::Stdio:
        if (Status in = keep(copy_of(STDIN_FILENO), first_in_); !in)
            return in;
        return keep(copy_of(STDOUT_FILENO), first_out_);
    }
    return {};
}

void MonitorListener::start(Connected connected)
{
    connected_ = std::move(connected);
    if (listening_)
        accept_next();
    else if (first_in_)
        connected_(std::move(first_in_), std::move(first_out_));
    else
        connect_again();
}

void MonitorListener::client_gone()
{
    if (listening_)
        accept_next();
    else if (endpoint_.reconnect_s > 0)
        connect_later();
}

void MonitorListener::accept_next()
{
    source_ = loop::watch(listening_->fd.get(), G_IO_IN, [this](GIOCondition) { on_acceptable(); });
}

void MonitorListener::on_acceptable()
{
    UniqueFd client(accept4(listening_->fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        // Out of descriptors or memory: the socket stays readable, so look away for a while.
        log::warning(
            fail_errno("accepting a QMP client on " + describe(endpoint_), errno).error().text());
        source_ = loop::after(std::chrono::seconds(1), [this] { accept_next(); });
        return;
    }
    const int on = 1; // fails on a UNIX socket, which needs it not
    setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    source_.reset();
    connected_(std::move(client), {});
}

void MonitorListener::connect_again()
{
    connecting_ =
        std::make_unique<EndpointConnecting>(endpoint_, [this](Result<UniqueFd> connection) {
            if (connection)
                return connected_(std::move(*connection), {});
            log::debug(connection.error().text());
            connect_later();
        });
}

void MonitorListener::connect_later()
{
    source_ = loop::after(std::chrono::seconds(endpoint_.reconnect_s), [this] { connect_again(); });
}

Result<OpenMonitor> open_monitor(const MonitorEndpoint& endpoint)
{
    auto listener = MonitorListener::open(endpoint);
    if (!listener)
        return pass(listener);
    OpenMonitor monitor{endpoint, std::move(*listener), {}};
    if (endpoint.log_file.empty())
        return monitor;
    // Without waiting: a pipe may have no reader.
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK;
    monitor.log = UniqueFd(::open(endpoint.log_file.c_str(),
                                  flags | (endpoint.append_to_log ? O_APPEND : O_TRUNC), 0666));
    if (!monitor.log)
        return fail_errno("opening a monitor's logfile " + endpoint.log_file, errno);
    return monitor;
}

} // namespace drover
