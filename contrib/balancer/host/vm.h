// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/emulator_link.h"
#include "contrib/balancer/host/emulator_process.h"
#include "contrib/balancer/host/vm_definition.h"

namespace drover::balancer {

/// What a host keeps of a VM, on disk, so that a droverd that is started again finds it.
struct VmRecord {
    VmDefinition definition;
    ProcessId process;     ///< pid -1: its start was begun, and perhaps not done
    std::string socket;    ///< of its QMP monitor that is ours
    std::string directory; ///< this VM's own: log, socket, ${run}
    std::string migration; ///< ID of the migration that it is in; empty without one
    bool adopted = false;
    /// Of Xen: its process is the one that took the guest in, which knows of that migration alone.
    bool takes_in = false;
};

[[nodiscard]] Json vm_state_json(const VmRecord& record);
[[nodiscard]] Result<VmRecord> vm_record_from_state(const Json& state);

enum class VmState { Starting, Running, Paused, Incoming, Moving, Moved, Unreachable };
[[nodiscard]] std::string_view to_string(VmState state);

/// One emulator process and our connection to it. Destroying it leaves the emulator alone. Loop
/// thread only.
class Vm {
public:
    struct Callbacks {
        std::function<void(Vm&)> changed;        ///< its state, or that its monitor answers
        std::function<void(Vm&)> migration_news; ///< something moved: query-migrate is worth asking
        std::function<void(Vm&)> ended;          ///< the process is gone; may destroy the Vm
    };

    Vm(VmRecord record, Callbacks callbacks);

    [[nodiscard]] const VmRecord& record() const { return record_; }
    [[nodiscard]] const std::string& name() const { return record_.definition.name; }
    [[nodiscard]] VmState state() const;
    [[nodiscard]] const std::string& uuid() const { return uuid_; }
    /// Thread ids of its vCPUs; empty until QEMU has said them.
    [[nodiscard]] const std::vector<pid_t>& vcpu_threads() const { return vcpu_threads_; }
    /// QEMU's RunState; empty: not known.
    [[nodiscard]] const std::string& run_state() const { return run_state_; }
    [[nodiscard]] bool knows_state() const { return !run_state_.empty(); }
    /// Its emulator was started to take a guest, and has none yet.
    [[nodiscard]] bool waits_for_guest() const { return run_state_ == "inmigrate"; }
    [[nodiscard]] EmulatorLink& link() { return link_; }

    /// In a migration (an ID) or not (empty); `away`: the guest is elsewhere for good.
    void set_migration(const std::string& id, bool incoming, bool away);

    /// Of Xen's: its guest came a moment ago, and is still to be served by another process than
    /// the one that took it in. Until then it cannot be moved on.
    [[nodiscard]] bool is_settling() const;
    /// Its process is told to make way for that other one: what the guest does shows as it was,
    /// until another Vm has taken over, or for 30 s.
    void hand_over() { hands_over_ = true; }
    [[nodiscard]] bool hands_over() const { return hands_over_; }
    /// Until its monitor has answered, or for 30 s, it is taken to be in this run state.
    void assume(const std::string& run_state);

    /// Asks the emulator for its state again.
    void refresh();

    /// What the member `migration` and others of query-vms show.
    [[nodiscard]] Json describe() const;

private:
    void connected();
    void take_event(const Json& event);
    void take_status(const Result<Json>& status);
    void take_vcpus(const Result<Json>& vcpus);

    VmRecord record_;
    Callbacks callbacks_;
    std::string run_state_; ///< QEMU's RunState; empty: not known
    std::string assumed_;   ///< what it is then; empty: nobody knows
    loop::Source assumed_limit_;
    bool hands_over_ = false;
    std::string uuid_;
    std::vector<pid_t> vcpu_threads_;
    bool incoming_ = false;
    bool away_ = false;
    ProcessWatch watch_;
    EmulatorLink link_;
};

} // namespace drover::balancer
