// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/move_state.h"
#include "util/result.h"

#include <optional>
#include <string>

namespace drover::balancer::cluster {

/// What a migration was expected to cost.
struct MoveCost {
    double seconds = 0;
    double bytes = 0;
    double downtime = 0; ///< seconds
};

/// A migration as the journal keeps it.
struct MoveRecord {
    std::string id; ///< unique, also over restarts
    std::string vm;
    std::string from; ///< hosts
    std::string to;
    Json definition;    ///< of the VM
    std::string policy; ///< words for -migrate-policy; empty: the VM's own
    std::string why;    ///< in words
    std::string wish;   ///< what asked for it: "plan", "user", "evacuate"
    MoveCost cost;
    MoveState state = MoveState::Planned;
    bool cancel = false; ///< somebody asked for it to stop
    std::string uri;     ///< of the target, once it was prepared
    std::string
        tls_hostname;   ///< what its certificate names it, if it has told; not kept in the journal
    double created = 0; ///< wall clock, seconds since 1970
    double changed = 0;
    std::string outcome;              ///< once it is decided: "completed", "failed", "cancelled"
    std::string error;                ///< in words
    double bytes = 0;                 ///< that it was to transfer, by the last answer
    std::optional<double> downtime;   ///< seconds, as measured
    std::optional<double> total_time; ///< seconds
};

/// Where each step is written before it is acted on.
class MoveLog {
public:
    virtual ~MoveLog() = default;
    /// A new migration. Refused if another of the same VM holds it.
    [[nodiscard]] virtual Status add(const MoveRecord& record) = 0;
    /// Its new state, with what led there in words.
    [[nodiscard]] virtual Status step(const MoveRecord& record, const std::string& note) = 0;
};

} // namespace drover::balancer::cluster
