// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "tools/fleet_cells.h"

namespace drover::tools {

/// Each gets what the balancer's command of that name returned (docs/balancer-qmp.md), and gives
/// lines. Nothing to show is a line that says so.
[[nodiscard]] std::string show_hosts(const Json& hosts, const FleetView& view);
[[nodiscard]] std::string show_vms(const Json& vms, const FleetView& view);
[[nodiscard]] std::string show_plan(const Json& plan, const FleetView& view);
[[nodiscard]] std::string show_history(const Json& history, const FleetView& view);

/// A host's load as shares of what it has; 0 where it is not known.
struct HostShares {
    double cpu = 0;
    double memory = 0;
    double net = 0; ///< of the busiest direction of the busiest interface

    [[nodiscard]] static HostShares of(const Json& load);
};

/// "host2: cpu-hot, since 12 s, 92 % sure: …" for one of query-hotspots.
[[nodiscard]] std::string hotspot_line(const Json& hotspot, const FleetView& view);

/// "m7: vm3 from host1 to host2" of a move or a migration.
[[nodiscard]] std::string move_text(const Json& move);
[[nodiscard]] Colour colour_of_state(const std::string& state);

} // namespace drover::tools
