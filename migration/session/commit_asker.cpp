// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/commit_asker.h"

#include "util/log.h"

#include <algorithm>

namespace drover {

namespace {
constexpr std::chrono::milliseconds longest_pause{5'000};
}

CommitAsker::CommitAsker(MigrationAddress address, const stream::SessionToken& token,
                         bool take_back, std::function<void(stream::Outcome)> answered)
    : address_(std::move(address)), token_(token), take_back_(take_back),
      answered_(std::move(answered))
{
    if (address_.kind != MigrationAddress::Kind::Fd) // nobody to call: the operator decides
        attempt();
}

CommitAsker::~CommitAsker()
{
    *alive_ = false;
}

void CommitAsker::attempt()
{
    connection_.reset();
    connecting_ =
        connect_to(address_, [this](Result<UniqueFd> socket) { connected(std::move(socket)); });
}

void CommitAsker::retry()
{
    timer_ = loop::after(pause_, [this] { attempt(); });
    pause_ = std::min(pause_ * 2, longest_pause);
}

void CommitAsker::connected(Result<UniqueFd> socket)
{
    if (!socket) {
        log::debug("asking the destination: " + socket.error().text());
        retry();
        return;
    }
    connection_ = std::make_unique<stream::FrameConnection>(
        std::move(*socket), stream::ConnectionRole::Ask, true, false,
        stream::FrameConnection::Callbacks{
            .frame = [this](const stream::Frame& frame) { handle(frame); },
            .closed = [this](const Error&) { retry(); },
        });
    connection_->send(stream::FrameType::Ask, token_);
}

void CommitAsker::handle(const stream::Frame& frame)
{
    if (frame.header.type == stream::FrameType::Running ||
        frame.header.type == stream::FrameType::Arrived) {
        answered_(stream::Outcome::Committed);
        return;
    }
    if (frame.header.type == stream::FrameType::Abort) {
        answered_(stream::Outcome::NotReady);
        return;
    }
    if (frame.header.type != stream::FrameType::Outcome)
        return;
    const auto value = stream::decode_u32(frame.payload);
    if (!value || *value > static_cast<uint32_t>(stream::Outcome::Committed))
        return;
    const auto outcome = static_cast<stream::Outcome>(*value);
    if (outcome == stream::Outcome::Ready && take_back_)
        connection_->send_json(
            stream::FrameType::Abort,
            stream::error_to_json({ErrorKind::Cancelled, "the source keeps the guest", ""}));
    else if (outcome == stream::Outcome::Ready)
        connection_->send(stream::FrameType::Commit);
    answered_(outcome);
}

} // namespace drover
