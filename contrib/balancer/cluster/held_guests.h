// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/host_door.h"
#include "contrib/balancer/cluster/time_source.h"

#include <map>
#include <memory>
#include <utility>

namespace drover::balancer::cluster {

/// Guests of stock QEMU that came to their destination and stand there (`held`), of migrations that
/// this balancer does not know: its journal was lost, or another balancer began them and is gone. A
/// guest must not stand still for that. What its source says is final and the truth, whoever hears
/// it: it went, or its emulator died (then it is let run here), or it stayed (then this one is
/// ended). Loop thread only.
class HeldGuests {
public:
    HeldGuests(const DoorFinder& find_door, const TimeSource& time)
        : find_door_(find_door), time_(time)
    {
    }

    /// `host` shows an emulator that has not let its guest run (query-vms: "incoming") in this
    /// migration of `vm`. To be called again as long as it does. Those whose ID is not of the
    /// balancer's form (new_move_id()) are somebody else's.
    void seen(const std::string& host, const std::string& vm, const std::string& migration);

private:
    struct Inquiry {
        std::string host;
        std::string vm;
        std::string migration;
        std::weak_ptr<int> alive;
    };
    void ask_source(const Inquiry& inquiry, const HostDoor::Answer& destination);
    void settle(const Inquiry& inquiry, const HostDoor::Answer& source);

    const DoorFinder& find_door_;
    const TimeSource& time_;
    std::map<std::pair<std::string, std::string>, double> asked_; ///< by host and migration: when
    double swept_ = 0;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

} // namespace drover::balancer::cluster
