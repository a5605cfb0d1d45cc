// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_moves.h"
#include "contrib/balancer/host/transfer_rate.h"

#include <vector>

namespace drover::balancer {

struct HostMoves::Move {
    MigrationRecord record;
    loop::Source timer;
    bool asking_emulator = false; ///< a query-migrate is on its way
    bool door_opening = false;    ///< at the destination: migrate-incoming is on its way
    bool begun = true;            ///< at the source: `migrate` was sent and not refused
    /// Its emulator was out of sight: the one of its name that was adopted since may be another,
    /// which knows nothing of this.
    bool out_of_sight = false;
    std::vector<Answer> waiting; ///< of vm-prepare
    TransferRate rate;
    loop::Source limit; ///< for an emulator or a source that does not come
};

/// Who asks through a host's one connection must not wait for one emulator that is stuck: others
/// wait behind. An answer that fails if it is not given in time.
[[nodiscard]] Answer in_time(const Answer& answer);

/// Whether the member `owner` is absent or can be one.
[[nodiscard]] bool has_good_owner(const Json& arguments);

/// "This host never heard of the migration": the caller tells it by its class.
[[nodiscard]] Error not_found(const std::string& id);

} // namespace drover::balancer
