// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/judgement.h"

namespace drover::balancer::cluster {

/// Asks guests what a migration of them would cost, and remembers it for a while: planning with it
/// may change the choice. Loop thread only.
class Forecasts {
public:
    Forecasts(Judgement& judgement, const TimeSource& time) : judgement_(judgement), time_(time) {}

    /// Whether this guest's word, or that it has none to give, is known; if not, it is asked.
    [[nodiscard]] bool known(const Fleet& fleet, const ChosenMove& move, double bandwidth);
    /// Forgets what is too old.
    void tick();
    /// It was moved, or tried to be: what it foretold was about another time.
    void forget(const std::string& vm);

private:
    struct Entry {
        double asked = 0;
        double answered = -1; ///< < 0: not yet
    };
    Judgement& judgement_;
    const TimeSource& time_;
    std::map<std::string, Entry> entries_; ///< by VM
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

} // namespace drover::balancer::cluster
