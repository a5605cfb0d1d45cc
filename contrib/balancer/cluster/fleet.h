// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/config.h"
#include "contrib/balancer/cluster/host_door.h"
#include "contrib/balancer/cluster/time_source.h"
#include "contrib/balancer/load/load.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace drover::balancer::cluster {

/// One emulator, as its host's droverd tells of it.
struct FleetVm {
    std::string name;
    std::string uuid;
    std::string kind;      ///< "drover" or "qemu"
    std::string state;     ///< of query-vms
    std::string run_state; ///< QEMU's; empty: not known
    std::string migration;
    bool settling = false; ///< it has just come, and its host cannot let it go yet
    Json definition = Json::object();
    VmLoad load;
    double load_at = -1; ///< our clock, when it arrived; < 0: never

    /// The guest is here, as far as its host knows; not one that waits for it or has let it go.
    [[nodiscard]] bool has_guest() const
    {
        return state != "incoming" && state != "moved" && !is_shut_off();
    }
    [[nodiscard]] bool is_shut_off() const { return state == "shut-off"; }
    /// Why its guest cannot be moved as it is, in words; empty: it can.
    [[nodiscard]] std::string standstill() const;
};

struct FleetHost {
    HostConfig config;
    bool up = false;
    double since = 0;            ///< our clock: up, or unreachable, since then
    Json facts = Json::object(); ///< query-host
    HostLoad load;
    double load_at = -1; ///< our clock, when it arrived; < 0: never
    double vms_at = -1;
    std::map<std::string, FleetVm> vms;
};

/// Makes the door of a host; `event` is called with each event that comes through it, as QMP has
/// it. Neither may call back before the maker has returned.
using LinkMaker = std::function<std::unique_ptr<HostDoor>(
    const HostConfig& host, std::function<void(const Json& event)> event)>;

/// What is known of all hosts, asked for each second. One question of a kind at a time to a host;
/// what comes too late is not believed. Only our own clock counts. Loop thread only.
class Fleet {
public:
    struct Callbacks {
        /// It came up or went down, or spoke of a migration.
        std::function<void(const std::string& host)> host_changed;
        /// An emulator there waits for its source, or for its source's word.
        std::function<void(const std::string& host, const std::string& vm,
                           const std::string& migration)>
            waiting;
    };
    Fleet(LinkMaker make_link, const TimeSource& time, Callbacks callbacks);

    /// Adds, drops and changes hosts; connections whose address is the same stay.
    void configure(const Config& config);
    /// Asks what is due. To be called some times a second.
    void tick();

    [[nodiscard]] HostDoor* door(const std::string& host) const;
    [[nodiscard]] const std::map<std::string, FleetHost>& hosts() const { return hosts_; }
    [[nodiscard]] const FleetHost* host(const std::string& name) const;

    /// Where a guest is. With two emulators (one waits for its source) it is one VM.
    struct Place {
        const FleetHost* host = nullptr;
        const FleetVm* vm = nullptr;
        bool twice = false; ///< two hosts say that they have it: one of them is out of date
    };
    [[nodiscard]] Place locate(const std::string& vm) const;
    /// All of them, by name.
    [[nodiscard]] std::map<std::string, Place> places() const;

private:
    struct Poll {
        double asked = -1e9;
        bool outstanding = false;
        uint64_t number = 0;
    };
    struct Link {
        std::unique_ptr<HostDoor> door;
        Poll load;
        Poll vms;
        Poll facts;
    };

    void look_at(const std::string& name, Link& link);
    void ask(const std::string& name, Poll Link::*poll, const char* command, double period,
             void (Fleet::*take)(FleetHost&, const Json&));
    void take_load(FleetHost& host, const Json& answer);
    void take_vms(FleetHost& host, const Json& answer);
    void take_facts(FleetHost& host, const Json& answer);
    void on_event(const std::string& host, const Json& event);

    LinkMaker make_link_;
    const TimeSource& time_;
    Callbacks callbacks_;
    std::map<std::string, FleetHost> hosts_;
    std::map<std::string, Link> links_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

} // namespace drover::balancer::cluster
