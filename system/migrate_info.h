// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/forecast.h"
#include "migration/session/incoming_door.h"
#include "migration/session/link_probe.h"
#include "migration/session/source.h"
#include "monitor/json.h"

/// What query-migrate returns, in QEMU's shape (MigrationInfo), with the member "drover" added.
/// See docs/qmp.md.
namespace drover {

/// QEMU's MigrationStatus for the source's state.
[[nodiscard]] std::string migration_status(const SourceSession& session);
[[nodiscard]] std::string migration_status(const DestinationSession& session);

/// What query-migrate-forecast returns.
[[nodiscard]] Json forecast_json(const MigrationStats& stats, const std::vector<Way>& ways,
                                 const LinkReport& link);

/// Members of the same: whether the guest can go there, why not, and what will be different for it.
[[nodiscard]] Json judgement_json(const Judgement& judgement);

/// The data of the event MIGRATION_DECISION, and a member of query-migrate's "decisions".
[[nodiscard]] Json decision_json(const Decision& decision);

/// QEMU's SocketAddress of where a destination listens.
[[nodiscard]] Json socket_address(const MigrationAddress& address);

[[nodiscard]] Json migrate_info(const SourceSession& session, const MigrationWish& wish,
                                uint64_t ram_bytes);
[[nodiscard]] Json migrate_info(const DestinationSession& session);

} // namespace drover
