// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a droverd that is started finds of the one before it. The rule: an emulator is gone only if
// its process was looked for and is not there. A file that cannot be read says nothing: who took it
// for the end of an emulator would let its guest run elsewhere too.
#include "contrib/balancer/host/host_vms_state.h"

#include "contrib/balancer/host/state_file.h"
#include "contrib/balancer/host/taps.h"
#include "util/log.h"

#include <unistd.h>

namespace drover::balancer {

Status HostVms::restore()
{
    for (const char* directory : {"/vms", "/run", "/migrations"})
        if (const Status made = make_directories(config_.state_directory + directory); !made)
            return made;
    if (const Status loaded = kept_.load(); !loaded)
        return loaded;
    for (const std::string& name : list_states(config_.state_directory + "/vms"))
        restore_one(name);
    return {};
}

void HostVms::restore_one(const std::string& name)
{
    const std::string path = state_of(name);
    auto state = load_state(path);
    auto record = state ? vm_record_from_state(*state) : Result<VmRecord>(pass(state));
    if (!record) {
        log::warning(std::move(record.error()).in(path).text());
        record = rebuild(name);
    }
    if (!record) {
        unseen_.insert(name);
        log::warning(record.error().text());
        return;
    }
    const bool on_xen = record->definition.kind == VmKind::Xen && xen_ != nullptr;
    // A domain's server may be another by now than the one that was written down last.
    const bool lives = process_id(record->process.pid) == record->process;
    if (record->process.pid < 0 || (on_xen && !lives))
        record->process = find_started(record->directory).value_or(ProcessId{});
    if (on_xen || process_id(record->process.pid) == record->process) {
        log::info("found again: " + name + ", process " + std::to_string(record->process.pid));
        if (!record->adopted && kept_.find(name) == nullptr)
            if (const Status kept = kept_.keep({record->definition, record->migration}); !kept)
                log::warning(kept.error().text());
        if (!state) // what was rebuilt is to be read the next time
            if (const Status saved = save_state(path, vm_state_json(*record)); !saved)
                log::warning(saved.error().text());
        add(std::move(*record));
        return;
    }
    log::info(name + " has ended meanwhile");
    ended_meanwhile_.insert(name);
    if (record->definition.kind != VmKind::Xen)
        remove_taps(record->definition);
    remove_state(path);
}

/// Of a VM whose state file is lost: all that it said is known otherwise, if we started it.
Result<VmRecord> HostVms::rebuild(const std::string& name) const
{
    const KeptVm* kept = kept_.find(name);
    if (kept == nullptr)
        return fail(ErrorKind::Refused,
                    "an emulator of " + name + " may run: " + state_of(name) + " cannot be read",
                    "adopt it again (vm-adopt), or remove that file if it runs no more");
    VmRecord record;
    record.definition = kept->definition;
    record.migration = kept->migration;
    record.directory = directory_of(name);
    record.socket = record.directory + "/qmp.sock";
    return record;
}

/// A second emulator of a VM would take its disks and its address, if the first one lives.
Status HostVms::check_not_unseen(const std::string& name) const
{
    if (!unseen_.contains(name) || access(state_of(name).c_str(), F_OK) != 0)
        return {};
    return std::unexpected(rebuild(name).error());
}

bool HostVms::has_ended(const std::string& name, bool may_be_adopted) const
{
    if (vms_.contains(name))
        return false;
    if (ended_meanwhile_.contains(name))
        return true;
    const bool is_ours = kept_.find(name) != nullptr || !may_be_adopted;
    return is_ours && !find_started(directory_of(name));
}

} // namespace drover::balancer
