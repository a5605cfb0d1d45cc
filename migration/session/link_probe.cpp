// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/link_probe.h"

#include "migration/stream/messages.h"

#include <algorithm>
#include <utility>

namespace drover {

using stream::FrameType;

namespace {

constexpr unsigned pings = 3;
constexpr double measured_s = 0.3;
constexpr size_t probe_bytes = 64U << 10;
/// On the way at once: what 1 GB/s carries in 4 ms.
constexpr uint64_t window_bytes = 4U << 20;
constexpr std::chrono::seconds longest{10};
/// What one connection may make the other end take.
constexpr uint64_t most_bytes = 4ULL << 30;
constexpr size_t longest_reason = 2000;

Error too_slow()
{
    return {ErrorKind::Connection, "the link could not be measured within 10 s",
            "give bandwidth instead"};
}

} // namespace

LinkProbe::LinkProbe(Wish wish, std::function<void(Result<LinkReport>)> done)
    : wish_(std::move(wish)), done_(std::move(done)), piece_(probe_bytes)
{
    connecting_ =
        call(wish_.destination, [this](Result<Socket> socket) { connected(std::move(socket)); });
    limit_ = loop::after(longest, [this] { finish(std::unexpected(too_slow())); });
    for (size_t i = 0; i < piece_.size(); ++i) // nothing that a network could compress to nothing
        piece_[i] = static_cast<std::byte>(i * i * 2654435761U >> 11);
}

LinkProbe::~LinkProbe()
{
    *alive_ = false;
}

void LinkProbe::connected(Result<Socket> socket)
{
    if (!socket)
        return finish(pass(socket));
    connection_ = std::make_unique<stream::FrameConnection>(
        std::move(*socket), stream::ConnectionRole::Probe, true, false,
        stream::FrameConnection::Callbacks{
            .frame = [this](const stream::Frame& frame) { handle(frame); },
            .closed = [this](Error error) { finish(std::unexpected(std::move(error))); },
        });
}

void LinkProbe::handle(const stream::Frame& frame)
{
    switch (frame.header.type) {
    case FrameType::ProbeInfo:
        if (auto info = stream::decode_json(frame.payload); info && !std::exchange(informed_, true))
            informed(*info);
        return;
    case FrameType::ProbeJudgement: return judged(frame);
    case FrameType::Pong: return ponged();
    case FrameType::PagesPlaced:
        if (const auto bytes = stream::decode_u64(frame.payload))
            placed(*bytes);
        return;
    default: return;
    }
}

void LinkProbe::informed(const Json& info)
{
    report_.no_postcopy = json_string(info, "no_postcopy").substr(0, longest_reason);
    asked_ = wish_.hello && json_bool(info, "judges");
    if (!asked_)
        return measure();
    connection_->send_json(FrameType::ProbeHello, wish_.hello->to_json());
}

void LinkProbe::judged(const stream::Frame& frame)
{
    if (!std::exchange(asked_, false))
        return;
    auto json = stream::decode_json(frame.payload);
    auto judgement = json ? Judgement::from_json(*json) : pass(json);
    if (!judgement)
        return finish(pass(judgement));
    report_.judgement = std::move(*judgement);
    measure();
}

void LinkProbe::measure()
{
    if (!wish_.measure)
        return finish(std::move(report_));
    measures_ = true;
    pinged_ = Clock::now();
    connection_->send(FrameType::Ping, stream::encode_u64(pings_));
}

void LinkProbe::ponged()
{
    if (!measures_ || pings_ == pings)
        return;
    const double took = seconds_since(pinged_);
    report_.round_trip_s = pings_ == 0 ? took : std::min(report_.round_trip_s, took);
    if (++pings_ == pings)
        return fill(0);
    pinged_ = Clock::now();
    connection_->send(FrameType::Ping, stream::encode_u64(pings_));
}

void LinkProbe::fill(uint64_t placed)
{
    while (sent_ - placed < window_bytes) {
        connection_->send(FrameType::ProbeData, piece_);
        sent_ += piece_.size();
    }
}

void LinkProbe::placed(uint64_t bytes)
{
    if (bytes > sent_)
        return;
    if (!first_placed_)
        first_placed_ = {bytes, Clock::now()};
    const double took = seconds_since(first_placed_->second);
    if (took >= measured_s) {
        report_.bytes_s = static_cast<double>(bytes - first_placed_->first) / took;
        return finish(std::move(report_));
    }
    fill(bytes);
}

void LinkProbe::finish(Result<LinkReport> result)
{
    limit_.reset();
    loop::post([this, alive = alive_, result = std::move(result)]() mutable {
        if (*alive && done_)
            std::exchange(done_, nullptr)(std::move(result));
    });
}

ProbeAnswer::ProbeAnswer(Socket socket, Machine& machine, std::function<void()> closed)
    : machine_(machine), closed_(std::move(closed))
{
    connection_ = std::make_unique<stream::FrameConnection>(
        std::move(socket), stream::ConnectionRole::Probe, false, false,
        stream::FrameConnection::Callbacks{
            .frame = [this](const stream::Frame& frame) { handle(frame); },
            .closed = [this](const Error&) { close(); },
        });
    connection_->expect_only({FrameType::Ping, FrameType::ProbeData, FrameType::ProbeHello});
    limit_ = loop::after(longest, [this] { close(); });
    Json info{{"software", "drover " DROVER_VERSION}, {"judges", true}};
    if (const auto hold = machine_.page_hold(); !hold)
        info["no_postcopy"] = hold.error().text();
    connection_->send_json(FrameType::ProbeInfo, info);
}

ProbeAnswer::~ProbeAnswer()
{
    *alive_ = false;
}

void ProbeAnswer::handle(const stream::Frame& frame)
{
    if (frame.header.type == FrameType::Ping)
        return connection_->send(FrameType::Pong, frame.payload);
    if (frame.header.type == FrameType::ProbeHello)
        return judge(frame);
    taken_ += frame.payload.size();
    if (taken_ > most_bytes)
        return close();
    connection_->send(FrameType::PagesPlaced, stream::encode_u64(taken_));
}

/// As a hello is judged that a migration begins with, but that nothing follows.
void ProbeAnswer::judge(const stream::Frame& frame)
{
    auto json = stream::decode_json(frame.payload);
    auto hello = json ? stream::Hello::from_json(*json) : pass(json);
    if (!hello || std::exchange(judged_, true))
        return close();
    judge_arrival(machine_, *hello,
                  [this, alive = alive_](const Judgement& judgement, const Json&) {
                      if (*alive && closed_)
                          connection_->send_json(FrameType::ProbeJudgement, judgement.to_json());
                  });
}

void ProbeAnswer::close()
{
    limit_.reset();
    if (closed_)
        std::exchange(closed_, nullptr)();
}

} // namespace drover
