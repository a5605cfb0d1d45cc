// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <string>

namespace drover::balancer {

/// How a migration stands, as one of its hosts sees it: docs/balancer-qmp.md has the table.
enum class MoveStatus {
    Preparing,
    Waiting,
    Active,
    Postcopy,
    Asking,
    Completed,
    Failed,
    Cancelled
};

[[nodiscard]] std::string_view to_string(MoveStatus status);
[[nodiscard]] bool is_over(MoveStatus status);

/// What a host keeps of a migration, on disk, before it acts on it.
struct MigrationRecord {
    std::string id;
    std::string vm;
    std::string owner;     ///< the balancer that began it; empty: somebody by hand
    bool incoming = false; ///< we are the destination
    MoveStatus status = MoveStatus::Preparing;
    std::string uri;         ///< where the destination waits
    std::string error;       ///< in words; of Failed
    bool guest_here = false; ///< we run the guest, or may have to
    /// At a destination, of stock QEMU: the guest stands when it has come, until vm-confirm tells
    /// the source's word. (QEMU's two sides can both run it, if their link breaks at the end.)
    bool held = false;
    std::string source_host; ///< at a destination: where it comes from; empty: nobody said
    bool guest_ran = true;   ///< at a source: until it was paused for the migration
    double changed = 0;      ///< seconds since 1970: when the status last changed

    // Not kept on disk: how far it is.
    double total = 0;     ///< bytes
    double remaining = 0; ///< bytes
    double rate = 0;      ///< bytes/s that it puts on the link; at the source only
    double downtime = 0;  ///< seconds
    double total_time = 0;
};

/// As query-vm-migration shows it.
[[nodiscard]] Json to_json(const MigrationRecord& record);

/// As it is on disk.
[[nodiscard]] Json migration_state(const MigrationRecord& record);
[[nodiscard]] Result<MigrationRecord> migration_from_state(const Json& state);

/// An ID becomes a file's name: the same rules as for a VM's name.
[[nodiscard]] bool is_migration_id(std::string_view id);

} // namespace drover::balancer
