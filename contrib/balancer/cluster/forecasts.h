// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/judgement.h"

namespace drover::balancer::cluster {

/// Asks guests what a migration of them would cost, and remembers it for a while: planning with it
/// may change the choice. Loop thread only.
class Forecasts {
public:
    Forecasts(Judgement& judgement, const TimeSource& time) : judgement_(judgement), time_(time) {}

    /// What a guest is asked about.
    struct Question {
        std::string vm;
        std::string host;     ///< where it is
        double bandwidth = 0; ///< bytes/s that the move may use
        std::string policy;   ///< that the move will have
        bool urgent = false;  ///< its host suffers until it is gone: waiting costs more than a
                              ///< wrong choice
    };

    /// Whether this guest's word, or that it has none to give, is known, or is not to be waited for
    /// any longer. If it is not known it is asked.
    [[nodiscard]] bool known(HostDoor* door, const Question& question);
    /// As it is (not) known: for plans that wait for somebody. An old one is asked for anew.
    void keep_known(HostDoor* door, const Question& question);
    /// Forgets what is too old.
    void tick();
    /// It was moved, or tried to be: what it foretold was about another time.
    void forget(const std::string& vm);

    /// Why this guest's word could not be had, in words; empty: it could, or was not asked for.
    [[nodiscard]] std::string complaint(const std::string& vm) const;
    /// For query-status.
    [[nodiscard]] Json to_json() const;

private:
    struct Entry {
        double asked = 0;
        double answered = -1; ///< < 0: not yet
        std::string complaint;
    };
    void ask(HostDoor& door, const Question& question);
    void take(const std::string& vm, double asked, const HostDoor::Answer& answer);
    [[nodiscard]] double waited_since(const Question& question);

    Judgement& judgement_;
    const TimeSource& time_;
    std::map<std::string, Entry> entries_; ///< by VM
    /// Since when, and until when last, moves from this host waited for forecasts that were urgent.
    std::map<std::string, std::pair<double, double>> urgent_;
    uint64_t asked_ = 0;
    uint64_t answered_ = 0;
    uint64_t refused_ = 0;
    std::string latest_complaint_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

} // namespace drover::balancer::cluster
