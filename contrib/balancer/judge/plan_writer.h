// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/search.h"

namespace drover::balancer {

/// Puts what the search found into order and words: one snapshot, one plan, one writer.
class PlanWriter {
public:
    explicit PlanWriter(const Snapshot& snapshot) : snapshot_(snapshot), scene_(snapshot) {}

    [[nodiscard]] Plan write();
    /// For one step that is no part of a search; not to be mixed with write().
    [[nodiscard]] Move describe(const Step& step);
    [[nodiscard]] Scene& scene() { return scene_; }

private:
    // make_plan.cpp
    void add_moves(const Relief& relief, bool evacuation);
    [[nodiscard]] HostId relieved_by(const Step& step, const Relief& relief) const;
    [[nodiscard]] Move make_move(const Step& step, bool urgent);
    void share_out(const Relief& relief, size_t first, const Amount& before);
    [[nodiscard]] double gain_of(const Step& step);
    [[nodiscard]] std::string change_text(const Step& step, const HostState& from,
                                          const HostState& to) const;
    [[nodiscard]] std::string policy_of(VmId vm, bool urgent) const;

    // verdicts.cpp
    void add_verdict(const Hotspot& spot);
    void add_rejections(const Hotspot& spot);
    [[nodiscard]] Rejection reject(const Hotspot& spot, VmId vm) const;
    void look_around(const Hotspot& spot, Rejection& rejection) const;
    [[nodiscard]] bool is_over(const Hotspot& spot) const;
    [[nodiscard]] bool is_in_flight(const Hotspot& spot) const;
    [[nodiscard]] std::string done_by_moves(const Hotspot& spot, const Verdict& verdict) const;
    [[nodiscard]] std::string nothing_done(const Hotspot& spot) const;

    const Snapshot& snapshot_;
    Scene scene_;
    std::vector<HostId> around_; ///< the hosts with most room, for the rejections
    std::unordered_map<HostId, std::vector<size_t>> moves_of_; ///< by the host that they relieve
    Plan plan_;
};

} // namespace drover::balancer
