// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/host_door.h"
#include "contrib/balancer/cluster/journal.h"

#include <map>

namespace drover::balancer::cluster {

/// Emulators that wait for a guest that will not come: a vm-prepare that was long under way may
/// come after its migration was given up. They are told vm-abandon, which their host refuses if
/// the guest may be there. What the journal does not know is not ours to end: another balancer may
/// be at work, or we were before the journal was lost. Its host ends what no source comes to. Loop
/// thread only.
class Leftovers {
public:
    Leftovers(Journal& journal, const DoorFinder& find_door, const TimeSource& time,
              const std::string& owner)
        : journal_(journal), find_door_(find_door), time_(time), owner_(owner)
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
        bool strange = false; ///< the journal does not know it
    };
    [[nodiscard]] bool is_left_over(const std::string& host, const std::string& migration,
                                    Sight& sight);

    Journal& journal_;
    const DoorFinder& find_door_;
    const TimeSource& time_;
    const std::string& owner_;
    std::map<std::string, Sight> sights_;
    double swept_ = 0;
};

/// "m-" and 16 hexadecimal digits, of the kernel's random numbers.
[[nodiscard]] std::string new_move_id();
/// "b-" and the same: of a balancer.
[[nodiscard]] std::string new_balancer_id();

} // namespace drover::balancer::cluster
