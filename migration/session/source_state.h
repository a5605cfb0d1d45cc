// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string_view>

namespace drover {

/// The source's side of a migration; drawn in docs/architecture.md. Up to Loading the guest is the
/// source's, and every failure ends in Unwinding: the guest runs here again. From Committing on it
/// is not ours to run, unless the destination says that it never will.
enum class SourceState {
    Connecting,     ///< to the destination
    Greeting,       ///< Hello sent, waiting for Welcome
    Joining,        ///< opening the data channels
    Copying,        ///< rounds; the guest runs
    Reconnecting,   ///< the link broke meanwhile: calling the destination; the guest runs
    Switching,      ///< the devices are being saved; the guest runs until it is paused
    Paused,         ///< last round and device state are under way
    Loading,        ///< all is sent; waiting for Ready
    Committing,     ///< Commit was sent; waiting for Running
    Asking,         ///< the link broke after Commit: asking what became of the guest
    Postcopy,       ///< the guest runs at the destination, and fetches from here what it lacks
    PostcopyPaused, ///< the link broke meanwhile: calling the destination
    Completed,      ///< the guest runs at the destination
    Unwinding,      ///< giving up; the guest is being made to run here again
    Failed,         ///< over; the guest is here
};

[[nodiscard]] std::string_view to_string(SourceState state);

/// Whether the state machine has this edge.
[[nodiscard]] bool may_follow(SourceState from, SourceState to);

/// Completed or Failed.
[[nodiscard]] bool is_final(SourceState state);

/// Whether the guest stands still because of the migration, and still is the source's.
[[nodiscard]] bool is_blackout(SourceState state);

/// The guest runs at the destination, and there is RAM of it that only we have.
[[nodiscard]] bool is_postcopy(SourceState state);

/// Whether the migration can still be given up without asking anybody.
[[nodiscard]] bool is_before_commit(SourceState state);

} // namespace drover
