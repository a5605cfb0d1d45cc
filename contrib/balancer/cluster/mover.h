// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/move.h"

#include <map>
#include <vector>

namespace drover::balancer::cluster {

/// What is to be moved.
struct MoveOrder {
    std::string vm;
    std::string from;
    std::string to;
    Json definition;
    std::string policy;
    std::string why;
    std::string wish;
    MoveCost cost;
};

/// How long a VM, or a target, is left alone after failures: the first pause doubles with each
/// failure in a row, up to the longest. Seconds.
struct BackOffRules {
    double first = 30;
    double longest = 3600;
};

class BackOff {
public:
    explicit BackOff(BackOffRules rules) : rules_(rules) {}
    void failed(const std::string& name, double now);
    void went_well(const std::string& name) { pauses_.erase(name); }
    /// How many seconds it still is to be left alone; 0: not at all.
    [[nodiscard]] double left(const std::string& name, double now) const;

private:
    struct Pause {
        int failures = 0;
        double until = 0;
    };
    BackOffRules rules_;
    std::map<std::string, Pause> pauses_;
};

/// All migrations that are not over. Loop thread only.
class Mover {
public:
    struct Config {
        MovePatience patience;
        BackOffRules back_off;
        const std::string& owner; ///< this balancer; known by the time that anything begins
    };
    /// `changed` is called after each change of a migration; not for the destroyed Mover.
    /// `make_id` gives IDs that were never given before, by former runs neither.
    Mover(MoveLog& log, DoorFinder find_door, const TimeSource& time, Config config,
          std::function<void(const MoveRecord&)> changed, std::function<std::string()> make_id);

    /// What the journal has open, once at the start.
    void recover(std::vector<MoveRecord> open);
    /// Failures of a former run, so that they are not repeated at once: oldest first.
    void recall(const std::vector<MoveRecord>& closed);

    /// Begins a migration; its ID. Refused if the VM is in another one, or waits out a failure to
    /// be cleaned up at that target, or if the journal cannot be written.
    [[nodiscard]] Result<std::string> begin(MoveOrder order);
    /// Also for one that is over, which is left as it is. An error: there is no such ID.
    [[nodiscard]] Status cancel(const std::string& id);

    /// Does what is due: to be called some times a second.
    void tick();
    /// `host` came up or went down, or spoke of a migration.
    void host_changed(const std::string& host);

    [[nodiscard]] std::vector<const Move*> moves() const;
    [[nodiscard]] const Move* find(const std::string& id) const;
    /// The one that holds this VM (holds_vm()), or null.
    [[nodiscard]] const Move* of_vm(const std::string& vm) const;
    /// For the journal's mending.
    [[nodiscard]] std::vector<MoveRecord> records() const;

    [[nodiscard]] const BackOff& vm_pauses() const { return vm_pauses_; }
    [[nodiscard]] const BackOff& host_pauses() const { return host_pauses_; }

private:
    void ended(const MoveRecord& record, double now);
    void on_changed(const MoveRecord& record);

    const TimeSource& time_;
    DoorFinder find_door_;
    Config config_;
    std::function<void(const MoveRecord&)> changed_;
    std::function<std::string()> make_id_;
    Move::Surroundings around_;
    std::map<std::string, std::unique_ptr<Move>> moves_;
    std::map<std::string, std::string> outcomes_; ///< of `moves_`, as they were counted
    BackOff vm_pauses_;
    BackOff host_pauses_;
};

} // namespace drover::balancer::cluster
