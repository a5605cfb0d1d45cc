// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/commit_asker.h"

#include "util/log.h"

#include <algorithm>

namespace drover {

namespace {
constexpr std::chrono::milliseconds longest_pause{5'000};
constexpr std::chrono::milliseconds hasty_pause{200};
constexpr std::chrono::milliseconds hasty_call{1'000};
constexpr std::chrono::milliseconds patient_call{4'000};
constexpr unsigned patient_attempt = 4; ///< each so many
/// A link that takes connections and carries nothing is tried again.
constexpr std::chrono::milliseconds answer_limit{10'000};
/// A peer that answered so lately is there, although the connection has gone.
constexpr double lately_s = 3;
} // namespace

bool nobody_listens(const Error& error)
{
    return error.message.find("Connection refused") != std::string::npos ||
           error.message.find("No such file") != std::string::npos;
}

CommitAsker::CommitAsker(MigrationPeer peer, const stream::SessionToken& token, Purpose purpose,
                         std::function<void(stream::Outcome)> answered)
    : peer_(std::move(peer)), token_(token), purpose_(purpose), answered_(std::move(answered))
{
    if (peer_.address.kind != MigrationAddress::Kind::Fd) // nobody to call: the operator decides
        attempt();
}

CommitAsker::~CommitAsker()
{
    *alive_ = false;
}

void CommitAsker::give_up_after(std::chrono::milliseconds time)
{
    give_up_timer_ = loop::after(time, [this] {
        finished_ = true;
        disarm();
        timer_.reset();
        connecting_.reset();
        connection_.reset();
    });
}

void CommitAsker::attempt()
{
    connection_.reset();
    connecting_ = call(
        peer_, [this](Result<Socket> socket) { connected(std::move(socket)); }, next_limit());
}

/// The kernel repeats what was lost of a connection's start after 1, 2, 4 s …: while a copy waits,
/// a link that is back is not to be noticed so late. But who is far away is given the time, too.
std::chrono::milliseconds CommitAsker::next_limit()
{
    if (purpose_ != Purpose::GoOn)
        return connect_timeout;
    return ++attempts_ % patient_attempt == 0 ? patient_call : hasty_call;
}

bool CommitAsker::reaches_peer() const
{
    return heard_ != TimePoint{} && (connection_ || seconds_since(heard_) < lately_s);
}

void CommitAsker::retry()
{
    connection_.reset();
    if (finished_ || purpose_ == Purpose::Nothing)
        return;
    timer_ = loop::after(pause_, [this] { attempt(); });
    pause_ = std::min(pause_ * 2, purpose_ == Purpose::GoOn ? hasty_pause : longest_pause);
}

void CommitAsker::connected(Result<Socket> socket)
{
    if (!socket) {
        log::debug("asking the destination: " + socket.error().text());
        if (unreachable_)
            unreachable_(socket.error());
        retry();
        return;
    }
    connection_ = std::make_unique<stream::FrameConnection>(
        std::move(*socket), stream::ConnectionRole::Ask, true, false,
        stream::FrameConnection::Callbacks{
            .frame = [this](const stream::Frame& frame) { handle(frame); },
            .closed =
                [this](const Error&) {
                    loop::post([this, alive = alive_] { // not from within its own callback
                        if (*alive)
                            retry();
                    });
                },
        });
    connection_->send(stream::FrameType::Ask, token_);
    await_answer();
}

void CommitAsker::await_answer()
{
    timer_ =
        loop::after(purpose_ == Purpose::GoOn ? patient_call : answer_limit, [this] { attempt(); });
}

std::unique_ptr<stream::FrameConnection> CommitAsker::take_connection()
{
    timer_.reset();
    return std::move(connection_);
}

void CommitAsker::handle(const stream::Frame& frame)
{
    if (purpose_ == Purpose::Nothing)
        return;
    timer_.reset();
    heard_ = Clock::now();
    switch (frame.header.type) {
    case stream::FrameType::Running:
    case stream::FrameType::Arrived:
        if (purpose_ == Purpose::Postcopy)
            return connection_->send(stream::FrameType::Ask, token_); // what does it lack?
        return answered_(frame.header.type == stream::FrameType::Arrived
                             ? stream::Outcome::Arrived
                             : stream::Outcome::Committed);
    case stream::FrameType::Abort: return answered_(stream::Outcome::NotReady);
    case stream::FrameType::Outcome:
        if (const auto outcome = stream::decode_outcome(frame.payload))
            handle_outcome(*outcome);
        return;
    case stream::FrameType::PageRequest: return handle_page_request(frame);
    default: return;
    }
}

/// The destination's hypervisor touches the guest's memory while it starts the guest, and waits for
/// it; so does then its answer.
void CommitAsker::handle_page_request(const stream::Frame& frame)
{
    auto request = stream::decode_page_request(frame.payload);
    Status served = request ? Status() : pass(request);
    if (request && serve_)
        served = serve_(*request, *connection_);
    if (!served)
        log::warning("the destination asks for pages wrongly: " + served.error().text());
    await_answer();
}

void CommitAsker::handle_outcome(stream::Outcome outcome)
{
    if (outcome == stream::Outcome::Unknown)
        heard_ = {}; // that is somebody else
    finished_ = purpose_ == Purpose::TakeBack;
    const bool is_there = outcome == stream::Outcome::Committed ||
                          outcome == stream::Outcome::Postcopy ||
                          outcome == stream::Outcome::Arrived;
    if (finished_ && is_there)
        log::error("the guest was taken back, but its destination has it, too: end one of the two "
                   "at once");
    const bool waits = outcome == stream::Outcome::Ready || outcome == stream::Outcome::Receiving;
    if (waits && purpose_ == Purpose::TakeBack)
        connection_->send_json(
            stream::FrameType::Abort,
            stream::error_to_json({ErrorKind::Cancelled, "the source keeps the guest", ""}));
    else if (purpose_ == Purpose::GiveBack && (is_there || outcome == stream::Outcome::Ready))
        return connection_->send_json(
            stream::FrameType::Abort,
            stream::error_to_json({ErrorKind::Cancelled, "the source takes the guest back", ""}));
    else if (outcome == stream::Outcome::Ready && purpose_ != Purpose::GoOn)
        connection_->send(stream::FrameType::Commit);
    else if (outcome == stream::Outcome::Postcopy || outcome == stream::Outcome::Receiving)
        connection_->hold_input(true); // what follows is for another owner
    answered_(outcome);
}

} // namespace drover
