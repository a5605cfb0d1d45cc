// SPDX-License-Identifier: GPL-2.0-or-later
//
// Post-copy, at the source: the guest runs at the destination before all of its RAM is there. It
// stands still here for good, so that what it lacks cannot change, and is served until nothing is
// missing. A link that breaks meanwhile loses nothing: we call until the destination answers, and
// it says what it lacks.
#include "migration/session/source.h"

#include "util/log.h"

#include <algorithm>
#include <utility>

namespace drover {

using stream::FrameType;

namespace {

/// A pause is not to be as long as is permitted to the last byte.
constexpr double budget_part = 0.9;

} // namespace

void SourceSession::warn_of_no_postcopy() const
{
    const auto& actions = options_.wish.on_stall;
    if (!postcopy_agreed_ && std::ranges::find(actions, StallAction::Postcopy) != actions.end())
        log::warning(
            "there will be no post-copy, which the policy permits: " +
            (report_.no_postcopy.empty() ? "the destination has none" : report_.no_postcopy));
}

Status SourceSession::start_postcopy()
{
    if (!postcopy_agreed_)
        return drover::fail(ErrorKind::Refused,
                            "there is no post-copy: " + (report_.no_postcopy.empty()
                                                             ? "the destination has none"
                                                             : report_.no_postcopy));
    if (state_ != SourceState::Copying)
        return drover::fail(ErrorKind::Refused, "post-copy begins while the guest is being copied; "
                                                "the migration is " +
                                                    std::string(to_string(state_)));
    postcopy_wanted_ = true;
    sender_->hurry();
    return {};
}

/// Whether what the pause has no time for may follow. Decided once, when the last round begins: a
/// policy that changes afterwards cannot make a page that was told one that nobody serves.
bool SourceSession::may_postcopy() const
{
    if (tells_missing_)
        return *tells_missing_;
    const auto& actions = options_.wish.on_stall;
    return postcopy_agreed_ && (postcopy_decided_ ||
                                std::ranges::find(actions, StallAction::Postcopy) != actions.end());
}

/// Bytes that the pause has time for. What was decided on was a forecast, and the guest has run on
/// since: where post-copy is permitted, the wish is kept all the same.
uint64_t SourceSession::last_round_budget() const
{
    if (!may_postcopy())
        return UINT64_MAX;
    if (postcopy_decided_)
        return 0;
    const double left_s =
        options_.wish.downtime_s * budget_part - usual_handover_s - seconds_since(paused_at_);
    double bytes_s = 0; // the best that a round long enough to tell has seen
    for (const RoundStats& round : report_.rounds)
        if (round.seconds > 0.001)
            bytes_s = std::max(bytes_s, static_cast<double>(round.bytes) / round.seconds);
    return static_cast<uint64_t>(std::max(left_s, 0.0) * bytes_s);
}

/// The last round is over. From the moment that the destination loads its devices it may ask for
/// what was not sent.
void SourceSession::serve_pages()
{
    auto server = std::make_unique<PageServer>(machine_.ram(), sender_->take_pending());
    if (!may_postcopy()) {
        if (server->pages_left() > 0) // never committed: nobody would serve them
            fail({ErrorKind::Machine, "pages were left out of the last round without post-copy",
                  "this is a bug: please report it"});
        return;
    }
    report_.rounds.back().pages_dirty = server->pages_left();
    report_.postcopy_left = server->pages_left();
    if (server->pages_left() == 0)
        return;
    report_.postcopy = true;
    server_ = std::move(server);
    server_->set_rate(options_.max_postcopy_bandwidth);
    server_->attach(*control_);
    for (const stream::PageRequest& request : std::exchange(early_requests_, {}))
        if (Status answered = server_->request(request); !answered)
            return control_closed(std::move(answered.error()));
}

void SourceSession::guest_runs_there()
{
    report_.downtime_s = seconds_since(paused_at_);
    if (!server_ || all_there_)
        return complete();
    switchover_timer_.reset();
    set_slowdown(0);
    enter(SourceState::Postcopy);
    server_->start_pushing();
}

/// It may come before we have noticed ourselves that the last round was sent.
bool SourceSession::is_early_request(const stream::Frame& frame) const
{
    constexpr size_t most = 4096;
    return frame.header.type == FrameType::PageRequest && state_ == SourceState::Paused &&
           may_postcopy() && !last_round_sent_ && early_requests_.size() < most;
}

Status SourceSession::handle_postcopy(const stream::Frame& frame)
{
    if (!server_ && is_early_request(frame)) {
        auto request = stream::decode_page_request(frame.payload);
        if (!request)
            return pass(request);
        early_requests_.push_back(*request);
        return {};
    }
    if (!server_) {
        protocol_error(frame);
        return {};
    }
    Status taken;
    switch (frame.header.type) {
    case FrameType::PageRequest: {
        auto request = stream::decode_page_request(frame.payload);
        taken = request ? server_->request(*request) : pass(request);
        break;
    }
    case FrameType::PagesPlaced: {
        auto bytes = stream::decode_u64(frame.payload);
        taken = bytes ? server_->placed(*bytes) : pass(bytes);
        break;
    }
    case FrameType::AllHere: all_is_there(); return {};
    case FrameType::Missing: {
        auto missing = stream::decode_missing(frame.payload);
        taken = missing ? check_missing(*missing, machine_.ram()) : pass(missing);
        if (taken && told_missing_.empty())
            return drover::fail(ErrorKind::Protocol, "pages are said to be missing out of place");
        if (taken)
            add_missing(*missing, told_missing_[missing->block]);
        break;
    }
    default: {
        auto pages = stream::decode_u64(frame.payload);
        if (!pages)
            return pass(pages);
        resumed(*pages);
        return {};
    }
    }
    report_.served = server_->counters();
    report_.postcopy_left = server_->pages_left();
    return taken;
}

void SourceSession::all_is_there()
{
    all_there_ = true;
    report_.served = server_->counters();
    report_.postcopy_left = 0;
    if (is_postcopy(state_))
        complete();
}

/// It had been committed: nothing is left to move.
void SourceSession::guest_died_there(Error error)
{
    report_.error = std::move(error).in("the guest ended at its destination during post-copy");
    log::error(report_.error->text());
    complete();
}

void SourceSession::pause_postcopy(const Error& why)
{
    if (state_ == SourceState::Postcopy) {
        ++report_.link_breaks;
        log::warning("the link broke during post-copy: " + why.text() +
                     "; the guest waits at its destination" +
                     (paused_by_user_ ? "" : "; calling it"));
        enter(SourceState::PostcopyPaused);
    }
    told_missing_.clear();
    call_destination(SourceState::PostcopyPaused);
}

Status SourceSession::break_postcopy()
{
    if (state_ != SourceState::Postcopy)
        return drover::fail(ErrorKind::Refused, "migrate-pause is currently only supported during "
                                                "postcopy-active state");
    paused_by_user_ = true;
    control_.unwatch();
    pause_postcopy({ErrorKind::Cancelled, "the user paused the migration", ""});
    return {};
}

Status SourceSession::resume_at(MigrationAddress address)
{
    if (state_ != SourceState::PostcopyPaused)
        return drover::fail(ErrorKind::Refused, "Cannot resume if there is no paused migration");
    paused_by_user_ = false;
    ask_peer_.address = std::move(address);
    call_destination(SourceState::PostcopyPaused);
    return {};
}

/// The destination has answered: its connection is the control connection from now on.
void SourceSession::resume_postcopy()
{
    loop::post([this, alive = alive_] { // not from within the asker's callback
        const bool waiting =
            *alive && asker_ && server_ &&
            (state_ == SourceState::Asking || state_ == SourceState::PostcopyPaused);
        if (!waiting)
            return;
        if (!take_askers_connection())
            return call_destination(state_);
        if (state_ == SourceState::Asking) { // it was Commit's answer that had been lost
            report_.error.reset();
            report_.downtime_s = seconds_since(paused_at_);
            enter(SourceState::Postcopy);
        }
        control_.set_silence_limit(postcopy_silence);
        for (const RamBlock& block : machine_.ram())
            told_missing_.emplace_back(block.pages());
        control_->send(FrameType::Resume);
        control_->hold_input(false);
    });
}

/// The destination has told all that it lacks.
void SourceSession::resumed(uint64_t missing)
{
    if (told_missing_.empty() || count_pages(told_missing_) != missing)
        return control_closed({ErrorKind::Protocol,
                               "the destination says that " + std::to_string(missing) +
                                   " pages are missing, and named others",
                               ""});
    server_->set_pending(std::move(told_missing_));
    told_missing_.clear();
    if (state_ == SourceState::PostcopyPaused) {
        log::info("the link is back: " + std::to_string(missing) + " pages are to be sent");
        enter(SourceState::Postcopy);
    }
    server_->attach(*control_);
    server_->start_pushing();
}

} // namespace drover
