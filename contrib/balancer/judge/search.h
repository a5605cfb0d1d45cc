// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/judge/scene.h"

namespace drover::balancer {

/// The steps that cool one host (or empty it).
struct Relief {
    HostId host = no_host;
    std::vector<Step> steps;
    double score = 0; ///< Outcome::score() of the steps; below 0
};

/// How much is tried. Small fleets are searched nearly to the end; of large ones, what is likely.
struct Effort {
    size_t units = 8;          ///< VMs of a hot host that may leave
    size_t targets = 8;        ///< hosts for each
    size_t width = 4;          ///< of the beam
    size_t depth = 3;          ///< choices after one another
    size_t exchange_units = 3; ///< the same for swaps, and for making room
    size_t exchange_targets = 4;
    size_t exchanges = 16; ///< that are followed
    size_t orders = 1;     ///< in which hot hosts are served
    bool exact = false;    ///< then all other plans are looked at, too

    [[nodiscard]] static Effort of(size_t hosts, size_t vms, size_t hot);
};

/// Looks for the steps with the lowest score. Whatever it returns is committed to the scene.
class Search {
public:
    explicit Search(Scene& scene);

    [[nodiscard]] std::vector<Relief> relieve();
    [[nodiscard]] std::vector<Relief> evacuate();
    /// The best host for one VM; nothing if none takes it.
    [[nodiscard]] std::optional<Step> place(VmId vm, Purpose purpose) const;
    /// Hosts that may receive, the emptiest first.
    [[nodiscard]] const std::vector<HostId>& pool() const { return pool_; }

private:
    using Option = std::vector<Step>;
    struct Way {
        Option steps;
        double score = 0;
    };

    [[nodiscard]] std::vector<HostId> hot_hosts() const;
    [[nodiscard]] std::vector<Relief> one_after_another(std::vector<HostId> order);
    [[nodiscard]] std::vector<Relief> all_at_once(const std::vector<HostId>& hot,
                                                  std::vector<Relief> known) const;
    [[nodiscard]] std::vector<Relief> serve(const std::vector<HostId>& order);
    void improve(std::vector<Relief>& reliefs);
    [[nodiscard]] Way cool(HostId host) const;
    [[nodiscard]] std::vector<Option> units(HostId host) const;
    [[nodiscard]] std::vector<Option> single_options(const std::vector<Option>& units) const;
    void add_exchanges(HostId host, const std::vector<Option>& units,
                       std::vector<Option>& options) const;
    void add_exchanges_at(const Option& there, HostId target, std::vector<Way>& found) const;
    [[nodiscard]] std::vector<HostId> targets(const Option& unit, size_t count) const;
    [[nodiscard]] Way beam(const std::vector<Option>& options, Way start) const;
    [[nodiscard]] Way together(const std::vector<HostId>& hot, Way start) const;
    [[nodiscard]] Way polish(Way way, const std::vector<Option>& options) const;
    [[nodiscard]] std::vector<Relief> split(const Way& way, const std::vector<HostId>& hot) const;
    void commit(const Option& steps);
    void undo(const Option& steps);

    Scene& scene_;
    Effort effort_;
    std::vector<HostId> pool_;
    size_t moves_left_;
};

} // namespace drover::balancer
