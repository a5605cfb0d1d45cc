// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/host_link.h"

#include "util/log.h"

#include <algorithm>
#include <chrono>

namespace drover::balancer::cluster {

namespace {

using std::chrono::milliseconds;
constexpr milliseconds first_pause{250};
constexpr milliseconds longest_pause{15'000};
constexpr size_t most_unanswered = 500;     // polls that it swallows, while it answers others
constexpr size_t longest_told_error = 1024; // it goes into the journal, and to users

DoorError lost(std::string why)
{
    return {DoorError::Kind::Lost, {}, std::move(why)};
}

DoorError refused(const Json& answer)
{
    const Json error =
        answer.is_object() && answer.contains("error") ? answer["error"] : Json::object();
    return {DoorError::Kind::Refused, json_string(error, "class").substr(0, longest_told_error),
            json_string(error, "desc").substr(0, longest_told_error)};
}

} // namespace

HostLink::HostLink(std::string name, std::string address, std::shared_ptr<TlsIdentity> identity,
                   std::function<void(const Json& event)> event, Pulse::Patience patience)
    : name_(std::move(name)), address_(std::move(address)), identity_(std::move(identity)),
      event_(std::move(event)), patience_(patience)
{
    timer_ = loop::after(milliseconds(0), [this] { dial(); });
}

HostLink::~HostLink()
{
    ++*connection_; // what is still on its way to us is too late
}

void HostLink::dial()
{
    dialling_ = std::make_unique<Dialling>(
        address_, identity_, [this](Result<UniqueFd> socket) { on_dialled(std::move(socket)); });
}

void HostLink::on_dialled(Result<UniqueFd> socket)
{
    if (!socket)
        return on_closed(socket.error().text());
    client_ = std::make_unique<QmpClient>(
        std::move(*socket), QmpClient::Callbacks{
                                .event = event_,
                                .closed = [this](const Error& why) { on_closed(why.text()); },
                            });
    timer_ = loop::after(patience_.period, [this] { on_closed("it does not speak QMP"); });
    unanswered_ = std::make_shared<size_t>(0);
    client_->negotiate(false, [this, connection = connection_,
                               number = *connection_](const Result<Json>& greeting) {
        if (*connection != number)
            return; // given up a moment ago
        if (!greeting)
            return on_closed(greeting.error().text());
        timer_.reset();
        failures_ = 0;
        up_ = true;
        trouble_.clear();
        pulse_.emplace(*client_, "query-version",
                       Error{ErrorKind::Connection, "its droverd is silent",
                             "it may be stuck, or the host or its network be dead"},
                       patience_);
        log::info("host " + name_ + " is there (" + address_ + ")");
    });
}

void HostLink::on_closed(const std::string& why)
{
    if (trouble_ != why)
        log::warning("host " + name_ + " (" + address_ + "): " + why);
    trouble_ = why;
    up_ = false;
    pulse_.reset();
    ++*connection_;
    // Not here: we may be called by one of them.
    loop::post([client = std::shared_ptr<QmpClient>(std::move(client_)),
                dialling = std::shared_ptr<Dialling>(std::move(dialling_))] {});
    const auto pause = std::min(longest_pause, first_pause * (1 << std::min(failures_, 10)));
    ++failures_;
    const auto jitter = milliseconds(random_() % static_cast<uint64_t>(pause.count() / 2 + 1));
    timer_ = loop::after(pause / 2 + jitter, [this] { dial(); });
}

void HostLink::execute(const std::string& command, Json arguments, Reply reply)
{
    if (!up_ || !client_) {
        loop::post([reply = std::move(reply)] { reply(std::unexpected(lost("not connected"))); });
        return;
    }
    if (*unanswered_ >= most_unanswered)
        loop::post([this, connection = connection_, number = *connection_] {
            if (*connection == number && client_)
                client_->give_up({ErrorKind::Connection,
                                  "its droverd leaves " + std::to_string(most_unanswered) +
                                      " commands without an answer",
                                  "look at its log"});
        });
    ++*unanswered_;
    client_->forward({{"execute", command}, {"arguments", std::move(arguments)}},
                     [connection = connection_, number = *connection_, unanswered = unanswered_,
                      reply = std::move(reply)](Json answer) {
                         --*unanswered;
                         if (answer.is_object() && answer.contains("return"))
                             return reply(std::move(answer["return"]));
                         // The end of the connection looks like a GenericError to us. Whether it
                         // has ended is known a moment later, and then it is not known what became
                         // of the command.
                         loop::post([connection, number, reply, answer = std::move(answer)] {
                             DoorError why = refused(answer);
                             if (*connection != number || why.error_class.empty())
                                 why.kind = DoorError::Kind::Lost;
                             reply(std::unexpected(std::move(why)));
                         });
                     });
}

} // namespace drover::balancer::cluster
