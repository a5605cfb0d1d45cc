// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "tools/fleet_cells.h"

namespace drover::tools {

/// What the balancer's queries returned.
struct FleetPicture {
    Json status;
    Json hosts;
    Json vms;
    Json hotspots;
    Json plan;
    Json migrations;
};

/// One frame of `drover top`: lines, none longer than the view's width and no more than its height.
/// `notice` is a last line, such as "q quits"; may be empty.
[[nodiscard]] std::string draw_top(const FleetPicture& picture, const FleetView& view,
                                   const std::string& notice);

} // namespace drover::tools
