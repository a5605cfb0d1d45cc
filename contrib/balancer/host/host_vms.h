// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/droverd_config.h"
#include "contrib/balancer/host/kept_vms.h"
#include "contrib/balancer/host/vm.h"
#include "contrib/balancer/host/vm_start.h"
#include "contrib/balancer/host/xen_watch.h"

#include <map>
#include <memory>
#include <set>

namespace drover::balancer {

/// Once, on the loop thread, from within the call or later.
using Answer = std::function<void(Result<Json>)>;

/// The VMs of a host: created, adopted, found again, ended. Each emulator has a state file,
/// STATE/vms/NAME.json, from before its process is started until after it is gone; the VM's
/// definition stays when its emulator ends (KeptVms). Loop thread only.
class HostVms {
public:
    struct Callbacks {
        std::function<void(const Json& event)> event; ///< VM_CHANGED
        std::function<void(Vm&)> migration_news;
        std::function<void(Vm&)> ended; ///< its process is gone; the Vm is destroyed afterwards
        /// Of Xen: its process is gone, and its domain is not: another process serves it now.
        /// `runs`: the guest does, so that nobody else has it.
        std::function<void(Vm&, bool runs)> served_again = [](Vm&, bool) {};
    };

    /// `config` must outlive this. `cgroups`: of the slice, for new emulators.
    HostVms(const DroverdConfig& config, std::vector<std::string> cgroups, Callbacks callbacks);
    ~HostVms();
    HostVms(const HostVms&) = delete;
    HostVms& operator=(const HostVms&) = delete;

    /// This is a Xen host, and has kinds of VMs for it. Before restore(); must outlive this.
    void use_xen(XenWatcher& xen) { xen_ = &xen; }
    /// It has told something new.
    void xen_news();

    /// Finds again what the state files tell of. What has ended meanwhile is tidied up.
    [[nodiscard]] Status restore();
    /// Whether it is certain that no emulator of this name runs any more, after restore().
    /// `may_be_adopted`: somebody else may have started it, so that only its state file knew it.
    [[nodiscard]] bool has_ended(const std::string& name, bool may_be_adopted) const;

    void create(const Json& arguments, const Answer& answer);
    void adopt(const Json& arguments, const Answer& answer);
    /// One that is shut off.
    void start_kept(const Json& arguments, const Answer& answer);
    void forget(const Json& arguments, const Answer& answer);
    /// The power button of all VMs of ours, and force after "limit" seconds; answers when they have
    /// ended.
    void shut_down(const Json& arguments, const Answer& answer);
    void end(const Json& arguments, const Answer& answer);
    void execute(const Json& arguments, const Answer& answer);

    /// After a boot: what is to run. Migrations must have been restored.
    void start_at_boot();
    /// How a migration ended whose emulator here is gone already.
    void migration_settled(const std::string& name, const std::string& id, bool guest_stays);

    /// Adopts what answers on sockets that match the configuration's patterns.
    void adopt_by_pattern();

    /// For a migration that comes in: starts the emulator, in state Incoming. `held`: the guest
    /// stands when it has come, until `cont`.
    [[nodiscard]] Result<Vm*> start_incoming(VmDefinition definition, const std::string& migration,
                                             bool held);

    /// Marks it as in a migration or not, on disk too.
    [[nodiscard]] Status set_migration(Vm& vm, const std::string& id, bool incoming);

    /// Its guest is elsewhere, or never came: ends the emulator.
    void retire(Vm& vm, bool guest_is_away);

    [[nodiscard]] Vm* find(const std::string& name);
    [[nodiscard]] Json list() const;
    [[nodiscard]] std::vector<Vm*> all();

private:
    struct Entry;

    void stop(Vm& vm);
    void press_power_button(Vm& vm, const Answer& answer);
    Status take_foreign(VmDefinition& definition) const;
    Status check_start(const VmDefinition& definition, const VmStart& how);
    void adopt_domain(const Json& arguments, const Answer& answer);
    void adopt_domains(const std::string& pattern);
    Status check_xen(const VmDefinition& definition, const VmStart& how) const;
    void look_for_domain(Entry& entry);
    void judge_domain(Entry& entry);
    void serve_again(Entry& entry, const XenDomainFacts& domain);
    void relieve_receiver(Entry& entry);
    void compare_state(Entry& entry);
    void take_up_kept();
    void gone(Vm& vm);

    [[nodiscard]] std::string directory_of(const std::string& name) const;
    [[nodiscard]] std::string state_of(const std::string& name) const;
    Result<Vm*> start(VmRecord record, VmStart how = {.cgroups = {}});
    Vm* add(VmRecord record);
    void restore_one(const std::string& name);
    [[nodiscard]] Result<VmRecord> rebuild(const std::string& name) const;
    [[nodiscard]] Status check_not_unseen(const std::string& name) const;
    [[nodiscard]] Status may_start(const std::string& name, bool force) const;
    void shut_down_by_force();
    void closed_one();
    void closed();
    void changed(Vm& vm);
    void ended(Vm& vm);
    void announce(const std::string& name, std::string_view state);
    void answer_when_up(const std::string& name, const Answer& answer);

    const DroverdConfig& config_;
    std::vector<std::string> cgroups_;
    Callbacks callbacks_;
    XenWatcher* xen_ = nullptr;
    KeptVms kept_;
    Answer closing_; ///< of shut_down(): no VM is started
    loop::Source closing_limit_;
    std::map<std::string, std::unique_ptr<Entry>> vms_;
    std::set<std::string> ended_meanwhile_; ///< before restore(): their processes are gone
    std::set<std::string> unseen_;          ///< there is no telling whether their emulators run
};

/// The member of `arguments`, or an error that names it.
[[nodiscard]] Result<std::string> text_argument(const Json& arguments, const char* name);

} // namespace drover::balancer
