// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/destination_state.h"

namespace drover {

std::string_view to_string(DestinationState state)
{
    switch (state) {
    case DestinationState::Greeting: return "greeting";
    case DestinationState::Preparing: return "preparing";
    case DestinationState::Receiving: return "receiving";
    case DestinationState::Reconnecting: return "reconnecting";
    case DestinationState::Holding: return "holding";
    case DestinationState::Loading: return "loading";
    case DestinationState::Ready: return "ready";
    case DestinationState::TakingOver: return "taking-over";
    case DestinationState::Postcopy: return "postcopy";
    case DestinationState::PostcopyPaused: return "postcopy-paused";
    case DestinationState::Completed: return "completed";
    case DestinationState::Failed: return "failed";
    }
    return "unknown";
}

bool is_final(DestinationState state)
{
    return state == DestinationState::Completed || state == DestinationState::Failed;
}

bool is_committed(DestinationState state)
{
    return state == DestinationState::TakingOver || state == DestinationState::Completed ||
           is_postcopy(state);
}

bool is_postcopy(DestinationState state)
{
    return state == DestinationState::Postcopy || state == DestinationState::PostcopyPaused;
}

bool may_follow(DestinationState from, DestinationState to)
{
    using enum DestinationState;
    if (to == Failed)
        return !is_final(from) && !is_postcopy(from);
    switch (from) {
    case Greeting: return to == Preparing;
    case Preparing: return to == Receiving;
    case Receiving: return to == Reconnecting || to == Holding;
    case Reconnecting: return to == Receiving;
    case Holding: return to == Loading;
    case Loading: return to == Ready;
    case Ready: return to == TakingOver;
    case TakingOver: return to == Postcopy || to == PostcopyPaused || to == Completed;
    case Postcopy: return to == PostcopyPaused || to == Completed;
    case PostcopyPaused: return to == Postcopy || to == Completed;
    case Completed:
    case Failed: return false;
    }
    return false;
}

} // namespace drover
