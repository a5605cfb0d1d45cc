// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/host_door.h"
#include "contrib/balancer/cluster/time_source.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace drover::balancer::cluster::testing {

/// A clock that goes when it is told to, with what is to happen at which time.
class VirtualTime : public TimeSource {
public:
    [[nodiscard]] double now() const override { return now_; }
    [[nodiscard]] double wall() const override { return now_ + wall_offset_; }
    void jump_wall(double seconds) { wall_offset_ += seconds; }
    void at(double delay, std::function<void()> what);
    /// Lets all happen that is due within `seconds`; `after_each` is called after each.
    void run(double seconds, const std::function<void()>& after_each);

private:
    struct Due {
        double time;
        uint64_t order;
        std::function<void()> what;
        bool operator>(const Due& other) const
        {
            return time != other.time ? time > other.time : order > other.order;
        }
    };
    double now_ = 1000;
    double wall_offset_ = 1.7e9;
    uint64_t order_ = 0;
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
};

/// A daemon's answer that is an error of this class.
[[nodiscard]] std::unexpected<DoorError> refused(std::string text,
                                                 std::string error_class = "GenericError");

/// A fleet of hosts whose daemons obey docs/balancer-qmp.md, over emulators that obey
/// docs/architecture.md. The emulators live on when their daemon dies; a daemon's records are on
/// its disk. It knows the truth: where each guest runs.
class FakeFleet {
public:
    struct Faults {
        double lose_request = 0; ///< parts of one
        double lose_reply = 0;
        double late = 0;    ///< a request of a connection that is given up, done long after
        double garbage = 0; ///< answers that make no sense
    };
    /// `blind`: the daemons do not look whether vm-abandon would end a guest: then whoever says it
    /// at the wrong time loses one.
    FakeFleet(VirtualTime& time, uint64_t seed, bool blind);

    void add_host(const std::string& name);
    void add_vm(const std::string& name, const std::string& host);
    [[nodiscard]] const std::vector<std::string>& hosts() const { return host_names_; }
    /// Stock QEMU is what moves these.
    std::set<std::string> stock;

    /// Puts a second emulator in the list, as a host would whose records are wrong.
    void claim(const std::string& vm, const std::string& host);
    int forecasts_asked = 0;
    Json forecast_question; ///< the last one
    bool foretells = true;  ///< else all are refused
    bool forecasts_hang = false;
    std::map<std::string, std::string> run_states; ///< of VMs that are not "running"
    std::set<std::string> settling;                ///< VMs that have just come
    std::string policy_asked;                      ///< by the last vm-migrate
    double shortest_transfer = 0.2; ///< seconds; the longest is 8, or a second more than this
    /// Cores that each guest uses; each host has 4.
    void set_vm_cpu(double cores) { vm_cpu_ = cores; }

    /// Gives each host a NIC that carries `bytes_s` and that migrations fill; each takes `seconds`.
    void set_link(double bytes_s, double seconds);

    // Faults.
    Faults faults;
    void kill_daemon(const std::string& host, double back_after);
    void cut_balancer_link(const std::string& host, double back_after);
    void cut_host_link(const std::string& a, const std::string& b, double back_after);
    void kill_waiting_emulator(const std::string& host);
    void balancer_died() { ++balancer_life_; } ///< all its connections end

    /// What is wrong with the truth, in words; empty: each guest runs once, or stands still with
    /// one owner while its emulators ask.
    [[nodiscard]] std::string complaint() const;
    /// The same once all has settled: no emulator waits, none asks.
    [[nodiscard]] std::string complaint_when_settled() const;
    [[nodiscard]] std::string host_of(const std::string& vm) const; ///< the truth
    /// Whether the guest came to its target by this migration.
    [[nodiscard]] bool did_move(const std::string& migration) const;
    [[nodiscard]] int commands() const { return commands_; }

    /// As droverd answers it.
    [[nodiscard]] Json query_vms(const std::string& host) const;
    [[nodiscard]] std::unique_ptr<HostDoor> make_door(const std::string& host);
    [[nodiscard]] bool is_up(const std::string& host) const; ///< as the balancer sees it
    /// Each command that the balancer sends passes here; false: it is dead, nothing is sent.
    std::function<bool()> may_send = [] { return true; };

private:
    /// Split: stock QEMU's guest came and is held, but its source has heard nothing and runs it.
    enum class Phase { Waiting, Active, Handover, Split, Completed, Failed, Cancelled };
    /// Both emulators' view: they settle it between them.
    struct Transfer {
        std::string vm;
        std::string from; ///< empty until vm-migrate
        std::string to;
        Phase phase = Phase::Waiting;
        bool target_lives = true; ///< the emulator that waits
        std::string told_from;    ///< by vm-prepare
        bool source_died = false; ///< its emulator, at the very end: its host knows of no success
        bool held = false;        ///< by vm-prepare: the guest stands until vm-confirm
    };
    struct Emulator {
        enum class Kind { Runs, Incoming, Gone } kind = Kind::Runs;
        std::string migration;
        bool held = false; ///< its guest stands, and nobody else has it
    };
    struct Record {
        std::string role;
        std::string owner;
    };
    struct Host {
        bool daemon_up = true;
        bool linked = true; ///< with the balancer
        uint64_t connection = 0;
        std::map<std::string, Emulator> emulators; ///< by VM
        std::map<std::string, Record> records;     ///< by migration, on its disk
    };
    class Door;

    void execute(const std::string& host, const std::string& command, Json arguments,
                 HostDoor::Reply reply);
    [[nodiscard]] HostDoor::Answer carry_out(const std::string& host, const std::string& command,
                                             const Json& arguments);
    [[nodiscard]] HostDoor::Answer prepare(const std::string& host, const Json& arguments);
    [[nodiscard]] HostDoor::Answer migrate(const std::string& host, const Json& arguments);
    [[nodiscard]] HostDoor::Answer cancel(const std::string& host, const std::string& id);
    [[nodiscard]] HostDoor::Answer confirm(const std::string& host, const Json& arguments);
    [[nodiscard]] HostDoor::Answer abandon(const std::string& host, const Json& arguments);
    [[nodiscard]] HostDoor::Answer query(const std::string& host, const std::string& id) const;
    [[nodiscard]] bool is_held(const std::string& host, const std::string& vm) const;
    [[nodiscard]] Json query_load(const std::string& host) const;
    [[nodiscard]] Json nics_of(const std::string& host) const;
    [[nodiscard]] Json garbage();
    void go_on(const std::string& id);
    void split(Transfer& transfer);
    void fail(Transfer& transfer, Phase how);
    void complete(const std::string& id, Transfer& transfer);
    [[nodiscard]] bool linked(const std::string& a, const std::string& b) const;
    [[nodiscard]] bool chance(double part);
    [[nodiscard]] double between(double low, double high);

    VirtualTime& time_;
    std::mt19937_64 random_;
    bool blind_;
    std::vector<std::string> host_names_;
    std::map<std::string, Host> hosts_;
    std::map<std::string, Transfer> transfers_;
    std::map<std::pair<std::string, std::string>, double> cut_until_;
    std::vector<std::string> vms_;
    uint64_t balancer_life_ = 0;
    int commands_ = 0;
    double vm_cpu_ = 0.5;
    double link_ = 0;        ///< bytes/s; 0: NICs that carry nothing
    double migration_s_ = 0; ///< 0: as it comes
};

} // namespace drover::balancer::cluster::testing
