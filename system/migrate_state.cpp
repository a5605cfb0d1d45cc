// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whose the guest is, and what may be done with it meanwhile.
#include "system/migrate_control.h"

namespace drover {

Status MigrateControl::may_change_run_state() const
{
    if (!source_)
        return {};
    switch (source_->state()) {
    case SourceState::Switching:
    case SourceState::Paused:
    case SourceState::Loading:
    case SourceState::Unwinding:
        return fail(ErrorKind::Refused, "the guest is being handed over to its destination",
                    "wait for the migration's end, or use migrate_cancel");
    case SourceState::Committing:
    case SourceState::Asking:
        return fail(ErrorKind::Refused,
                    "the guest may be running at its destination: the link broke at the switchover",
                    "migrate-resolve says whose it is");
    case SourceState::Postcopy:
    case SourceState::PostcopyPaused:
        return fail(ErrorKind::Refused, "the guest runs at its destination",
                    "a second copy would destroy its disks");
    case SourceState::Completed:
        // Left paused there, it is for the user to say who runs it: libvirt decides so.
        if (source_->report().arrived_paused)
            return {};
        return fail(ErrorKind::Refused, "the guest runs at its destination",
                    "a second copy would destroy its disks; quit this one");
    default: return {};
    }
}

bool MigrateControl::guest_is_away() const
{
    return source_ && source_->state() == SourceState::Completed &&
           source_->report().arrived_paused;
}

void MigrateControl::take_back(std::function<void(Status)> done)
{
    source_->take_back([this, done = std::move(done)](Status back) {
        if (!back)
            return done(std::move(back));
        loop::post([this, done] { // not within its callback
            if (guest_is_away())
                source_.reset();
            done({});
        });
    });
}

Status MigrateControl::claim()
{
    return door_ && door_->session() ? door_->session()->claim() : Status();
}

bool MigrateControl::owes_an_answer() const
{
    return door_ && door_->session() && door_->session()->owes_an_answer();
}

bool MigrateControl::awaits_guest() const
{
    if (incoming_deferred_ || !door_)
        return incoming_deferred_;
    DestinationSession* session = door_->session();
    return !session || !is_committed(session->state()) ||
           session->state() == DestinationState::TakingOver;
}

bool MigrateControl::is_migrating() const
{
    return native_.is_sending() || (source_ && !is_final(source_->state()));
}

void MigrateControl::ram_changes()
{
    end_forecast(QmpResponse::error("the guest's memory was changed: ask again"));
}

GuestPhase MigrateControl::phase() const
{
    if (native_.is_sending())
        return GuestPhase::Free; // QEMU knows, and refuses by itself
    if (is_migrating()) {
        switch (source_->state()) {
        case SourceState::Connecting:
        case SourceState::Greeting:
        case SourceState::Joining:
        case SourceState::Copying:
        case SourceState::Reconnecting:
        case SourceState::Switching: return GuestPhase::Moving;
        default: return GuestPhase::HandedOver;
        }
    }
    if (!door_ || !door_->session() || is_final(door_->session()->state()))
        return GuestPhase::Free;
    switch (door_->session()->state()) {
    case DestinationState::Greeting: return GuestPhase::Free; // nothing is accepted yet
    case DestinationState::Preparing:
    case DestinationState::Receiving:
    case DestinationState::Reconnecting:
    // In post-copy the guest runs here, but its memory must stay as it was described.
    case DestinationState::Postcopy:
    case DestinationState::PostcopyPaused: return GuestPhase::Moving;
    default: return GuestPhase::HandedOver;
    }
}

bool MigrateControl::serves_pages() const
{
    return source_ && is_postcopy(source_->state());
}

bool MigrateControl::is_taking_over() const
{
    return door_ && door_->session() && door_->session()->state() == DestinationState::TakingOver;
}

} // namespace drover
