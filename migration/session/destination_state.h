// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string_view>

namespace drover {

/// The destination's side of a migration; drawn in docs/architecture.md. Until TakingOver the guest
/// must not run here, whatever happens; from then on it is ours.
enum class DestinationState {
    Greeting,       ///< a control connection is here, waiting for its Hello
    Preparing,      ///< the hello is accepted; the hypervisor gets ready to load
    Receiving,      ///< RAM, and device state from before the pause
    Reconnecting,   ///< the link broke while RAM came: the source is awaited
    Holding,        ///< the source's guest is paused; what comes now is kept until RAM is complete
    Loading,        ///< the hypervisor loads the device state
    Ready,          ///< the guest is complete, and paused; waiting for Commit
    TakingOver,     ///< Commit came: the guest is ours and is being started
    Postcopy,       ///< it runs, and fetches from the source what it lacks
    PostcopyPaused, ///< the link broke meanwhile: the guest stands still until it is back
    Completed,      ///< it runs
    Failed,         ///< it will never run here
};

[[nodiscard]] std::string_view to_string(DestinationState state);
[[nodiscard]] bool may_follow(DestinationState from, DestinationState to);
[[nodiscard]] bool is_final(DestinationState state);

/// The guest is the destination's, and lacks some of its RAM.
[[nodiscard]] bool is_postcopy(DestinationState state);

/// The guest is the destination's.
[[nodiscard]] bool is_committed(DestinationState state);

} // namespace drover
