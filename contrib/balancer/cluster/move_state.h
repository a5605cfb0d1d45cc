// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/host_door.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// One migration as the balancer sees it:
///
///     Planned ──Begin──▶ Preparing ──Prepared──▶ Starting ──Started──▶ Watching
///        │                   │                      │               │  │  ▲  │
///        │GiveUp             │GiveUp                │Lost           │  │  │  │Moved
///        │                   ▼                      ▼       Stayed  │  │  │  ▼
///        │                 Failed ◀──────Stayed── Unknown ◀───Lost──┼──┘  │ Completed
///        │                   │ ▲ │                  │ │             │     │  ▲ ▲  │
///        │          Abandoned│ │ └───────Moved──────┼─┼─────────────┼─────┼──┘ │  │Close
///        ▼                   ▼ └────────────────────┼─┼─────────────┘     │    │  ▼
///      Closed ◀──────────────┘                      │ └───────Runs────────┘    │ Closed
///                                                   └─────────Moved────────────┘
///
/// A Failed one may turn out to have moved: a command that was long under way may begin a migration
/// that was given up.
///
/// The two emulators settle by themselves who has the guest. What is decided here is only what to
/// ask and to clean up, and when the VM may be moved again.
namespace drover::balancer::cluster {

enum class MoveState {
    Planned,   ///< nobody was told yet
    Preparing, ///< the target was, or is being, told vm-prepare
    Starting,  ///< the source was, or is being, told vm-migrate
    Watching,  ///< the source says that it runs
    Unknown,   ///< the source cannot be asked: both are asked again and again, nothing is guessed
    Completed, ///< the guest is at the target
    Failed,    ///< the guest stayed; the target is being told vm-abandon
    Closed,    ///< over, and nothing of it is left
};

enum class MoveEvent {
    Begin,
    GiveUp,    ///< while the source was told nothing
    Prepared,  ///< the target gave its URI
    Started,   ///< the source took the command
    Runs,      ///< the source says that it is under way
    Lost,      ///< the source cannot be asked
    Stayed,    ///< the guest is where it was, and this migration will not change that
    Moved,     ///< the guest is at the target
    Abandoned, ///< the target has nothing of it left
    Close,
};

inline constexpr int move_states = 8;
inline constexpr int move_events = 10;

[[nodiscard]] std::string_view to_string(MoveState state); ///< "planned", …
[[nodiscard]] std::string_view to_string(MoveEvent event);
[[nodiscard]] std::optional<MoveState> move_state_from(std::string_view text);

/// The diagram; nothing where it has no such edge.
[[nodiscard]] std::optional<MoveState> transition(MoveState from, MoveEvent event);

/// In these states nobody else may move the VM: at most one migration of a VM is in one of them.
[[nodiscard]] bool holds_vm(MoveState state);

/// What one of the two hosts says of a migration (query-vm-migration).
struct Word {
    enum class Kind {
        Silent, ///< no answer, or one that makes no sense
        Never,  ///< it never heard of the migration
        Says,   ///< `status` is one of the contract's
    };
    Kind kind = Kind::Silent;
    std::string status;
    std::string error;
    double total = 0;                 ///< bytes
    double remaining = 0;             ///< bytes
    double rate = 0;                  ///< bytes/s on the link, as the source tells
    bool guest_here = false;          ///< its emulator lives, and has the guest or may have it
    bool held = false;                ///< at the target: the guest stands, until vm-confirm
    bool guest_ran = true;            ///< at the source, until it was paused for the migration
    std::optional<double> downtime;   ///< seconds
    std::optional<double> total_time; ///< seconds
    std::string complaint;            ///< why the answer makes no sense

    [[nodiscard]] bool says(std::string_view what) const
    {
        return kind == Kind::Says && status == what;
    }
};

/// From a peer that is not trusted: an answer about another migration, VM or role is Silent.
[[nodiscard]] Word read_word(const HostDoor::Answer& answer, const std::string& migration,
                             const std::string& vm, std::string_view role);

/// Whether the VM is on the host in its own right, by query-vms.
enum class Presence {
    Unsure,
    Absent,
    Present, ///< it runs or is paused there, in no migration
    Bound,   ///< it is in a migration, waits for its source, or its monitor does not answer
};
[[nodiscard]] Presence read_presence(const HostDoor::Answer& query_vms, const std::string& vm);

/// What can be concluded; nothing: wait, and ask again. A host that never heard of the migration
/// is believed only together with what its list of VMs shows.
[[nodiscard]] std::optional<MoveEvent> conclude(const Word& source, const Word& target,
                                                Presence at_source);

} // namespace drover::balancer::cluster
