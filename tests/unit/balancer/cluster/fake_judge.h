// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/judgement.h"

namespace drover::balancer::cluster::testing {

/// Says what the test wants it to say.
class FakeJudge : public Judgement {
public:
    std::vector<ShownHotspot> spots;
    ChosenPlan next;
    ChosenMove choice; ///< of choose()
    std::vector<MoveRecord> over;
    std::map<std::string, Json> forecasts;
    int observed = 0;

    void observe(const Surroundings&) override { ++observed; }
    [[nodiscard]] std::vector<ShownHotspot> hotspots() const override { return spots; }
    [[nodiscard]] ChosenPlan plan() override { return next; }
    [[nodiscard]] Result<ChosenMove> choose(const std::string& vm, const std::string& host) override
    {
        if (choice.vm != vm || (!host.empty() && choice.to != host))
            return fail(ErrorKind::Refused, "there is no room for it");
        return choice;
    }
    void foretold(const std::string& vm, const Json& forecast) override
    {
        forecasts[vm] = forecast;
    }
    void forget_forecast(const std::string& vm) override { forecasts.erase(vm); }
    void ended(const MoveRecord& record) override { over.push_back(record); }
};

} // namespace drover::balancer::cluster::testing
