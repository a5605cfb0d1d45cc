// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/host_door.h"
#include "contrib/balancer/cluster/journal.h"

#include <map>

namespace drover::balancer::cluster {

/// Emulators that wait for a guest that will not come: a vm-prepare that was long under way may
/// come after its migration was given up, and a lost journal forgets what it prepared. They are
/// told vm-abandon, which their host refuses if the guest may be there. Loop thread only.
class Leftovers {
public:
    Leftovers(Journal& journal, const DoorFinder& find_door, const TimeSource& time)
        : journal_(journal), find_door_(find_door), time_(time)
    {
    }

    /// `host` shows an emulator that waits (query-vms: "incoming") in this migration. Those whose
    /// ID is not of the balancer's form (new_move_id()) are somebody else's.
    void seen(const std::string& host, const std::string& migration);

private:
    struct Sight {
        double first = 0;
        double latest = 0;
        double told = -1e9;
    };
    [[nodiscard]] bool is_left_over(const Sight& sight, const std::string& migration);

    Journal& journal_;
    const DoorFinder& find_door_;
    const TimeSource& time_;
    std::map<std::string, Sight> sights_;
    double swept_ = 0;
};

/// "m-" and 16 hexadecimal digits, of the kernel's random numbers.
[[nodiscard]] std::string new_move_id();

} // namespace drover::balancer::cluster
