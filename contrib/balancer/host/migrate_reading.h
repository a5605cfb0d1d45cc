// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/migration_record.h"

#include <optional>

namespace drover::balancer {

/// What an emulator's query-migrate says, Drover's or stock QEMU's, in our words.
struct MigrateReading {
    std::optional<MoveStatus> status; ///< nothing: no migration has begun
    std::string error;
    double total = 0;     ///< bytes
    double remaining = 0; ///< bytes
    /// Bytes put on the link so far. Unlike `remaining`, it grows all the time: an emulator may go
    /// over the same memory again, or not know yet what is left.
    double transferred = 0;
    double downtime = 0;   ///< seconds
    double total_time = 0; ///< seconds
};

/// `info` is what query-migrate returned; it is not trusted.
[[nodiscard]] MigrateReading read_migrate_info(const Json& info, bool incoming);

/// Whether a host on which a migration stands so runs the guest, or may have to.
[[nodiscard]] bool guest_may_be_here(MoveStatus status, bool incoming);

} // namespace drover::balancer
