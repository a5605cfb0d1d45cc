// SPDX-License-Identifier: GPL-2.0-or-later
//
// The guest arrived paused, and has not run there yet. The right to run it is the destination's,
// but can be had back until it is first used: by asking, or when the destination is certainly gone.
// Otherwise each side could be told "cont" by its user, and both would obey.
#include "migration/session/source.h"

#include "util/log.h"

#include <utility>

namespace drover {

using stream::FrameType;

namespace {

constexpr std::chrono::seconds answer_time{10};
constexpr const char* how_to_insist =
    "if it certainly does not have the guest any more, migrate-resolve says so";

} // namespace

/// After Arrived: over it either side tells the other what its user wants. Its end is a sign, too.
void SourceSession::keep_link()
{
    control_->hold_input(false);
    control_.watch([this](const Error&) {
        word_may_be_lost_ = true;
        link_ended();
    });
}

void SourceSession::link_ended()
{
    control_.unwatch();
    loop::post([this, alive = alive_] { // not from within the connection's callback
        if (!*alive || state_ != SourceState::Completed)
            return;
        control_.reset();
        if (taking_back_)
            call_for_guest();
    });
}

void SourceSession::take_back(std::function<void(Status)> done)
{
    if (state_ != SourceState::Completed || !report_.arrived_paused || taking_back_)
        return loop::post([done = std::move(done)] {
            done(drover::fail(ErrorKind::Refused, "there is no guest to be taken back now"));
        });
    taking_back_ = std::move(done);
    if (!give_back_agreed_) // an older destination, or the operator's word
        return loop::post([this, alive = alive_] {
            if (*alive)
                taken_back({});
        });
    taking_back_timer_ = loop::after(answer_time, [this] {
        taken_back(drover::fail(ErrorKind::Connection,
                                "the guest stands paused at its destination, which does not answer",
                                how_to_insist));
    });
    if (control_)
        control_->send_json(
            FrameType::Abort,
            stream::error_to_json({ErrorKind::Cancelled, "the source takes the guest back", ""}));
    else
        call_for_guest();
}

void SourceSession::call_for_guest()
{
    // Only the process that had the guest could say more, and if it had run it we would have heard.
    if (ask_peer_.address.kind == MigrationAddress::Kind::Fd)
        return taken_back(drover::fail(
            ErrorKind::Connection,
            "the guest was left paused at its destination, and the connection that was handed over "
            "(fd:) has ended: nobody can be asked",
            how_to_insist));
    asker_ =
        std::make_unique<CommitAsker>(ask_peer_, hello_.session, CommitAsker::Purpose::GiveBack,
                                      [this](stream::Outcome outcome) { answered(outcome); });
    asker_->on_unreachable([this](const Error& error) { destination_unreachable(error); });
}

/// A link that its peer has ended, and nobody who listens there now: the destination is gone, and
/// had not run the guest, or it would have said so before. A link that fell silent, or was reset,
/// proves nothing (tests/model/switchover.pml).
void SourceSession::destination_unreachable(const Error& error)
{
    if (!word_may_be_lost_ && nobody_listens(error))
        return taken_back({});
    taken_back(drover::fail(
        ErrorKind::Connection,
        "the guest was left paused at its destination, which cannot be asked: " + error.message,
        how_to_insist));
}

void SourceSession::has_run_there()
{
    report_.arrived_paused = false;
    log::info("the guest was run at its destination");
    taken_back(drover::fail(ErrorKind::Refused, "the guest has run at its destination",
                            "a second copy would destroy its disks; quit this one"));
    link_ended();
}

void SourceSession::taken_back(Status status)
{
    taking_back_timer_.reset();
    loop::post([this, alive = alive_, status = std::move(status)] { // not from within its callbacks
        if (!*alive)
            return;
        asker_.reset();
        if (status)
            control_.reset();
        if (taking_back_)
            std::exchange(taking_back_, nullptr)(status);
    });
}

} // namespace drover
