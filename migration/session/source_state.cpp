// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/source_state.h"

namespace drover {

std::string_view to_string(SourceState state)
{
    switch (state) {
    case SourceState::Connecting: return "connecting";
    case SourceState::Greeting: return "greeting";
    case SourceState::Joining: return "joining";
    case SourceState::Copying: return "copying";
    case SourceState::Reconnecting: return "reconnecting";
    case SourceState::Switching: return "switching";
    case SourceState::Paused: return "paused";
    case SourceState::Loading: return "loading";
    case SourceState::Committing: return "committing";
    case SourceState::Asking: return "asking";
    case SourceState::Postcopy: return "postcopy";
    case SourceState::PostcopyPaused: return "postcopy-paused";
    case SourceState::Completed: return "completed";
    case SourceState::Unwinding: return "unwinding";
    case SourceState::Failed: return "failed";
    }
    return "unknown";
}

bool is_before_commit(SourceState state)
{
    return state < SourceState::Committing;
}

bool is_blackout(SourceState state)
{
    return state == SourceState::Paused || state == SourceState::Loading;
}

bool is_postcopy(SourceState state)
{
    return state == SourceState::Postcopy || state == SourceState::PostcopyPaused;
}

bool is_final(SourceState state)
{
    return state == SourceState::Completed || state == SourceState::Failed;
}

bool may_follow(SourceState from, SourceState to)
{
    using enum SourceState;
    if (to == Unwinding)
        // After the commit only on the destination's word that it will never run the guest.
        return is_before_commit(from) || from == Committing || from == Asking;
    switch (from) {
    case Connecting: return to == Greeting;
    case Greeting: return to == Joining;
    case Joining: return to == Copying;
    case Copying: return to == Reconnecting || to == Switching;
    case Reconnecting: return to == Copying;
    case Switching: return to == Paused;
    case Paused: return to == Loading;
    case Loading: return to == Committing;
    case Committing: return to == Asking || to == Postcopy || to == Completed;
    case Asking: return to == Postcopy || to == Completed;
    case Postcopy: return to == PostcopyPaused || to == Completed;
    case PostcopyPaused: return to == Postcopy || to == Completed;
    case Unwinding: return to == Failed;
    case Completed:
    case Failed: return false;
    }
    return false;
}

} // namespace drover
