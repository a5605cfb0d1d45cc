// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/emulator_link.h"

namespace drover::balancer {

namespace {
constexpr std::chrono::milliseconds retry_after{1000};
}

EmulatorLink::EmulatorLink(std::string socket_path, Callbacks callbacks, Pulse::Patience patience)
    : path_(std::move(socket_path)), callbacks_(std::move(callbacks)), patience_(patience)
{
    connect();
}

void EmulatorLink::connect()
{
    MonitorEndpoint endpoint;
    endpoint.kind = MonitorEndpoint::Kind::UnixConnect;
    endpoint.path = path_;
    connecting_ = std::make_unique<EndpointConnecting>(endpoint, [this](Result<UniqueFd> fd) {
        if (fd)
            negotiate(std::move(*fd));
        else
            connect_later();
    });
}

void EmulatorLink::connect_later()
{
    client_.reset();
    retry_ = loop::after(retry_after, [this] { connect(); });
}

void EmulatorLink::negotiate(UniqueFd fd)
{
    QmpClient::Callbacks callbacks;
    callbacks.event = [this](const Json& event) {
        if (up_)
            callbacks_.event(event);
    };
    callbacks.closed = [this](const Error&) { lost(); };
    client_ = std::make_unique<QmpClient>(std::move(fd), std::move(callbacks));
    client_->negotiate(false, [this](const Result<Json>& greeting) {
        if (!greeting)
            return; // `closed` follows, or has come
        up_ = true;
        pulse_.emplace(*client_, "query-status",
                       Error{ErrorKind::Connection,
                             "the emulator's monitor at " + path_ + " is silent",
                             "the process may be stuck: on a dead network disk, or stopped"},
                       patience_);
        callbacks_.up();
    });
}

void EmulatorLink::lost()
{
    const bool was_up = std::exchange(up_, false);
    pulse_.reset();
    connect_later();
    if (was_up)
        callbacks_.down();
}

void EmulatorLink::execute(const std::string& command, Json arguments, QmpClient::Reply reply)
{
    if (up_)
        return client_->execute(command, std::move(arguments), std::move(reply));
    reply(fail(ErrorKind::Connection, "the emulator's monitor at " + path_ + " does not answer",
               "it may be busy, or another program may be connected to it"));
}

} // namespace drover::balancer
