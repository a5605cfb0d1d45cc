// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/fleet.h"
#include "contrib/balancer/cluster/mover.h"

#include <map>
#include <set>
#include <string>
#include <vector>

/// What the balancer wants to be told by the judge, by names and as it is shown. The real one
/// (judging.h) asks contrib/balancer/judge; tests have their own.
namespace drover::balancer::cluster {

struct ShownHotspot {
    std::string id;
    std::string host;
    std::string vm;   ///< empty: the host itself
    std::string text; ///< in words
    Json shown;       ///< as query-hotspots shows it
};

struct ChosenMove {
    std::string vm;
    std::string from;
    std::string to;
    std::string policy; ///< words for -migrate-policy, or empty
    MoveCost cost;
    bool estimated = true; ///< the cost; not forecast by the guest itself
    bool waits = false;    ///< for another move of the plan to end well
    double gain = 0;
    std::vector<std::string> resolves; ///< hotspots' IDs
    std::string why;
};

struct ChosenPlan {
    std::vector<ChosenMove> moves; ///< in the order in which to begin them
    Json rejected = Json::array(); ///< as query-plan shows them
    Json verdicts = Json::array();
};

/// What is known of the world in this round.
struct Surroundings {
    const Config& config;
    const Fleet& fleet;
    const Mover& mover;
    const std::set<std::string>& evacuating; ///< hosts
    const std::vector<ChosenMove>& promised; ///< that will be begun: counted as in flight
};

class Judgement {
public:
    virtual ~Judgement() = default;
    /// Once each round, before anything is asked.
    virtual void observe(const Surroundings& around) = 0;
    [[nodiscard]] virtual std::vector<ShownHotspot> hotspots() const = 0;
    [[nodiscard]] virtual ChosenPlan plan() = 0;
    /// For a user who wants this VM moved: to `host`, or (empty) wherever it is best. An error: why
    /// it cannot be.
    [[nodiscard]] virtual Result<ChosenMove> choose(const std::string& vm,
                                                    const std::string& host) = 0;
    /// What the guest itself foretold (query-vm-forecast), with our clock at its arrival; counts
    /// until it is forgotten. Null: it could not be had.
    virtual void foretold(const std::string& vm, const Json& forecast) = 0;
    virtual void forget_forecast(const std::string& vm) = 0;
    /// A migration that is over.
    virtual void ended(const MoveRecord& record) = 0;
};

} // namespace drover::balancer::cluster
