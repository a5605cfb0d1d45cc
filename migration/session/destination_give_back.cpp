// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest that arrived paused (it was paused before, or the destination was started with -S, as
// libvirt does) has not run here yet. Until it is first run both users could want to run it, each
// on his side: so the right to do it can be given back, and is one side's at any moment. Here it is
// decided, in one thread: whichever comes first, claim() or give_back(), refuses the other.
#include "migration/session/destination.h"

#include "util/log.h"

namespace drover {

using stream::FrameType;

void DestinationSession::give_back(std::function<void(FrameType)> done)
{
    if (state_ != DestinationState::Completed || !arrived_paused_ || claimed_ || died_)
        return done(state_ == DestinationState::Failed ? FrameType::Abort : FrameType::Running);
    // Only when the hypervisor is gone are the disks free for the source's.
    giving_back_.push_back(std::move(done));
    if (std::exchange(given_back_, true))
        return;
    log::warning("the source takes the guest back, which has not run here");
    observer_.given_back();
}

Status DestinationSession::claim()
{
    if (given_back_)
        return drover::fail(ErrorKind::Refused, "the guest was given back to its source",
                            "migrate it anew");
    if (state_ != DestinationState::Completed || !arrived_paused_ || std::exchange(claimed_, true))
        return {};
    if (control_) {
        control_->send(FrameType::Running);
        control_.close_gracefully();
    }
    return {};
}

} // namespace drover
