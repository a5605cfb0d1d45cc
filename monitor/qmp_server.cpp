// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_server.h"

#include "monitor/monitor_listener.h"
#include "monitor/qmp_session.h"

#include <chrono>

namespace drover {

QmpResponse QmpResponse::ok(Json value)
{
    return {{{"return", std::move(value)}}};
}

QmpResponse QmpResponse::error(std::string desc, std::string error_class)
{
    return {{{"error", {{"class", std::move(error_class)}, {"desc", std::move(desc)}}}}};
}

QmpResponse QmpResponse::error(const Error& error)
{
    return QmpResponse::error(error.text());
}

class QmpServer::Impl {
public:
    Impl(Json greeting, QmpHandler& handler) : greeting_(std::move(greeting)), handler_(handler) {}
    ~Impl()
    {
        for (const auto& monitor : monitors_) {
            if (monitor->session)
                monitor->session->close();
        }
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    void add_monitor(OpenMonitor opened);
    void broadcast(const Json& event);
    void when_awaited_clients_came(std::function<void()> call);

private:
    struct Monitor {
        std::unique_ptr<MonitorListener> listener;
        std::shared_ptr<QmpSession> session;
        uint64_t client = 0;
        bool pretty = false;
        bool telnet = false;
        UniqueFd log;
        bool awaited = false;
    };

    void client_came(Monitor& monitor, UniqueFd in, UniqueFd out);
    void client_gone(Monitor& monitor);
    void check_awaited();

    Json greeting_;
    QmpHandler& handler_;
    std::vector<std::unique_ptr<Monitor>> monitors_; // never shrinks: callbacks refer to them
    uint64_t last_client_ = 0;
    loop::Source all_came_timer_;
    std::function<void()> all_came_;
};

void QmpServer::Impl::add_monitor(OpenMonitor opened)
{
    Monitor& place = *monitors_.emplace_back(std::make_unique<Monitor>());
    place.listener = std::move(opened.listener);
    place.log = std::move(opened.log);
    place.pretty = opened.endpoint.pretty;
    place.telnet = opened.endpoint.telnet;
    place.awaited = opened.endpoint.wait;
    place.listener->start([this, &place](UniqueFd in, UniqueFd out) {
        client_came(place, std::move(in), std::move(out));
    });
}

void QmpServer::Impl::client_came(Monitor& monitor, UniqueFd in, UniqueFd out)
{
    monitor.client = ++last_client_;
    monitor.session = QmpSession::start(
        std::move(in), std::move(out),
        {monitor.client, greeting_, monitor.pretty, monitor.telnet, monitor.log.get()}, handler_,
        [this, &monitor] { client_gone(monitor); });
    monitor.awaited = false;
    check_awaited();
}

void QmpServer::Impl::client_gone(Monitor& monitor)
{
    const uint64_t client = monitor.client;
    monitor.session.reset();
    monitor.listener->client_gone();
    handler_.client_gone(client);
}

void QmpServer::Impl::broadcast(const Json& event)
{
    for (const auto& monitor : monitors_) {
        if (monitor->session)
            monitor->session->send_event(event);
    }
}

void QmpServer::Impl::when_awaited_clients_came(std::function<void()> call)
{
    all_came_ = std::move(call);
    check_awaited();
}

/// The call is made from the loop: by then the caller has finished what it was doing.
void QmpServer::Impl::check_awaited()
{
    for (const auto& monitor : monitors_) {
        if (monitor->awaited)
            return;
    }
    if (!all_came_ || all_came_timer_)
        return;
    all_came_timer_ = loop::after(std::chrono::milliseconds(0), [this] {
        const auto call = std::exchange(all_came_, nullptr);
        all_came_timer_.reset();
        call();
    });
}

QmpServer::QmpServer(Json greeting, QmpHandler& handler)
    : impl_(std::make_unique<Impl>(std::move(greeting), handler))
{
}

QmpServer::~QmpServer() = default;

void QmpServer::add_monitor(OpenMonitor monitor)
{
    impl_->add_monitor(std::move(monitor));
}

void QmpServer::broadcast(const Json& event)
{
    impl_->broadcast(event);
}

void QmpServer::when_awaited_clients_came(std::function<void()> call)
{
    impl_->when_awaited_clients_came(std::move(call));
}

void answer(const QmpResponder& respond, const Status& status)
{
    respond(status ? QmpResponse::ok() : QmpResponse::error(status.error()));
}

Json make_event(std::string name, Json data)
{
    using namespace std::chrono;
    const auto now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
    return {{"event", std::move(name)},
            {"data", std::move(data)},
            {"timestamp", {{"seconds", now / 1'000'000}, {"microseconds", now % 1'000'000}}}};
}

} // namespace drover
