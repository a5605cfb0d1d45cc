// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/door.h"

#include "contrib/balancer/doors/door_listener.h"
#include "monitor/qmp_session.h"

#include <map>
#include <vector>

namespace drover::balancer {

class DoorServer::Impl : public QmpHandler {
public:
    Impl(Json greeting, RoleHandler& handler, DoorLimits limits)
        : greeting_(std::move(greeting)), handler_(handler), limits_(limits)
    {
    }
    ~Impl() override
    {
        for (const auto& [id, visitor] : visitors_)
            visitor.session->close();
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    Result<std::string> add(const DoorOptions& options);
    void broadcast(const Json& event);
    [[nodiscard]] size_t clients() const { return visitors_.size(); }

    void handle(QmpRequest request, QmpResponder respond) override;

private:
    struct Door {
        std::unique_ptr<DoorListener> listener;
        size_t clients = 0;
        QuietLog log;
    };
    struct Visitor {
        Client client;
        Door& door;
        std::shared_ptr<QmpSession> session;
    };

    void arrived(Door& door, UniqueFd fd, Identity who);
    void gone(uint64_t id);

    Json greeting_;
    RoleHandler& handler_;
    DoorLimits limits_;
    std::vector<std::unique_ptr<Door>> doors_; // never shrinks: callbacks refer to them
    std::map<uint64_t, Visitor> visitors_;
    uint64_t last_client_ = 0;
};

Result<std::string> DoorServer::Impl::add(const DoorOptions& options)
{
    auto door = std::make_unique<Door>();
    auto listener =
        DoorListener::open(options, limits_, [this, &place = *door](UniqueFd fd, Identity who) {
            arrived(place, std::move(fd), std::move(who));
        });
    if (!listener)
        return pass(listener);
    door->listener = std::move(*listener);
    doors_.push_back(std::move(door));
    return doors_.back()->listener->address();
}

void DoorServer::Impl::arrived(Door& door, UniqueFd fd, Identity who)
{
    // The places above the limit are for those who could make room again.
    const size_t places = limits_.clients + (who.role >= Role::Operate ? limits_.reserved : 0);
    if (door.clients >= places)
        return door.log.warn(door.listener->address() + ": " + who.name + " is turned away: " +
                             std::to_string(door.clients) + " clients are there");
    const uint64_t id = ++last_client_;
    ++door.clients;
    auto session =
        QmpSession::start(std::move(fd), {}, {.id = id, .greeting = greeting_, .overtaking = true},
                          *this, [this, id] { gone(id); });
    visitors_.emplace(id, Visitor{{id, who.role, std::move(who.name)}, door, std::move(session)});
}

void DoorServer::Impl::gone(uint64_t id)
{
    const auto visitor = visitors_.find(id);
    if (visitor == visitors_.end())
        return;
    --visitor->second.door.clients;
    visitors_.erase(visitor);
    handler_.client_gone(id);
}

void DoorServer::Impl::handle(QmpRequest request, QmpResponder respond)
{
    const auto visitor = visitors_.find(request.client);
    if (visitor == visitors_.end())
        return respond(QmpResponse::error("the connection is ending"));
    const Client client = visitor->second.client; // the handler may cause its end
    handler_.handle(std::move(request), client, std::move(respond));
}

void DoorServer::Impl::broadcast(const Json& event)
{
    for (const auto& [id, visitor] : visitors_) {
        if (visitor.client.role >= Role::Observe)
            visitor.session->send_event(event);
    }
}

DoorServer::DoorServer(Json greeting, RoleHandler& handler, DoorLimits limits)
    : impl_(std::make_unique<Impl>(std::move(greeting), handler, limits))
{
}

DoorServer::~DoorServer() = default;

Result<std::string> DoorServer::add(const DoorOptions& options)
{
    return impl_->add(options);
}

void DoorServer::broadcast(const Json& event)
{
    impl_->broadcast(event);
}

size_t DoorServer::clients() const
{
    return impl_->clients();
}

} // namespace drover::balancer
