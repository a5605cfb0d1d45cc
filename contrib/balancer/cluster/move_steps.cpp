// SPDX-License-Identifier: GPL-2.0-or-later
//
// What all steps of a migration have in common: asking, writing down, trying again.
#include "contrib/balancer/cluster/move.h"

#include "util/log.h"

#include <algorithm>
#include <cmath>

namespace drover::balancer::cluster {

namespace {

/// Steps that only tell what happened, or clean up: waiting for the disk would help nobody.
bool begins_something(MoveEvent event)
{
    return event == MoveEvent::Begin || event == MoveEvent::Prepared;
}

} // namespace

bool Move::is_up(const std::string& host) const
{
    const HostDoor* door = around_.find_door(host);
    return door != nullptr && door->is_up();
}

bool Move::is_stock_qemu() const
{
    return json_string(record_.definition, "kind") == "qemu";
}

/// False if nobody is there to be asked. The answer comes once, or the round's time ends.
bool Move::ask(const std::string& host, const std::string& command, Json arguments,
               std::function<void(const HostDoor::Answer&)> take)
{
    if (!is_up(host))
        return false;
    if (outstanding_ == 0) {
        ++round_;
        give_up_at_ = around_.time.now() + around_.patience.answer;
    }
    ++outstanding_;
    const MoveState state = record_.state;
    around_.find_door(host)->execute(
        command, std::move(arguments),
        [this, alive = std::weak_ptr<int>(alive_), round = round_, state, take = std::move(take),
         heard = false](const HostDoor::Answer& answer) mutable {
            if (alive.expired() || heard || round != round_ || state != record_.state)
                return;
            heard = true;
            --outstanding_;
            take(answer);
            if (state == MoveState::Unknown && record_.state == state && outstanding_ == 0)
                conclude_inquiry();
        });
    return true;
}

/// Along an edge of the diagram. False if it could not be taken because it could not be written.
bool Move::step(MoveEvent event, const std::string& note)
{
    const auto next = transition(record_.state, event);
    if (!next) { // a bug here must not become one in the fleet
        log::error("migration " + record_.id + ": no " + std::string(to_string(event)) + " while " +
                   std::string(to_string(record_.state)));
        again("a bug in the balancer");
        return false;
    }
    MoveRecord changed = record_;
    changed.state = *next;
    changed.changed = around_.time.wall();
    Status written = around_.log.step(changed, note);
    if (!written && begins_something(event)) {
        again(written.error().text());
        return false;
    }
    record_ = std::move(changed);
    saved_ = written.has_value();
    ++round_; // whatever was asked before does not matter any more
    outstanding_ = 0;
    failures_ = 0;
    waits_for_ = saved_ ? std::string() : written.error().text();
    due_ = around_.time.now();
    if (*next == MoveState::Watching)
        due_ += around_.patience.watch;
    around_.changed(record_);
    return true;
}

void Move::finish(MoveEvent event, const Word& word, const std::string& error)
{
    record_.error = event == MoveEvent::Moved ? std::string() : error;
    if (event == MoveEvent::Moved) {
        record_.outcome = "completed";
        if (word.kind == Word::Kind::Says)
            guest_ran_ = word.guest_ran;
    } else {
        record_.outcome = record_.cancel ? "cancelled" : "failed";
    }
    if (word.total > 0)
        record_.bytes = word.total;
    if (word.downtime)
        record_.downtime = word.downtime;
    if (word.total_time)
        record_.total_time = word.total_time;
    step(event, record_.error);
    if (record_.state == MoveState::Completed)
        confirm(); // at once: a guest may stand until then
}

void Move::again(const std::string& why)
{
    const MovePatience& patience = around_.patience;
    const double delay = patience.first_retry * std::exp2(std::min(failures_, 20));
    ++failures_;
    due_ = around_.time.now() + std::min(delay, patience.last_retry);
    if (waits_for_ == why)
        return;
    waits_for_ = why;
    around_.changed(record_);
}

Status Move::save()
{
    if (saved_)
        return {};
    Status written = around_.log.step(record_, "written late");
    saved_ = written.has_value();
    return written;
}

Status Move::cancel()
{
    if (!holds_vm(record_.state))
        return {}; // over, as far as the guest is concerned
    record_.cancel = true;
    record_.changed = around_.time.wall();
    cancel_told_ = -1e9;
    hurry();
    Status written = around_.log.step(record_, "it is to be cancelled");
    saved_ = saved_ && written.has_value();
    return written;
}

} // namespace drover::balancer::cluster
