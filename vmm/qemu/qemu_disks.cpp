// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest that does not run owns its disk images all the same: see disk_activation.h.
#include "vmm/qemu/disk_activation.h"
#include "vmm/qemu/qemu_machine.h"

namespace drover::qemu {

void QemuMachine::activate_disks(std::function<void(Status)> done)
{
    qemu::activate_disks(
        [this, alive = alive_](const std::string& command, Json arguments, auto answered) {
            qmp_.execute(command, std::move(arguments),
                         [alive, answered = std::move(answered)](const Result<Json>& answer) {
                             if (*alive)
                                 answered(answer);
                         });
        },
        std::move(done));
}

/// By query-status' answer. QEMU refuses a guest in some states, but only when all of its RAM has
/// been copied; in others it aborts, or forgets what the guest was.
Status QemuMachine::may_be_saved(const Json& state)
{
    const std::string status = json_string(state, "status");
    if (status == "postmigrate")
        return drover::fail(ErrorKind::Refused,
                            "this QEMU can move the guest, which was paused when a migration of it "
                            "ended after its devices had been saved, only once it has run",
                            "cont it, and stop it again if it is to stay paused");
    if (status == "suspended")
        return drover::fail(ErrorKind::Refused,
                            "the guest is suspended to RAM, and would not arrive so",
                            "wake it up first: system_wakeup");
    return {};
}

void QemuMachine::may_save(std::function<void(Status)> done)
{
    qmp_.execute("query-status", Json::object(),
                 [alive = alive_, done = std::move(done)](Result<Json> state) {
                     if (*alive)
                         done(state ? may_be_saved(*state) : pass(state));
                 });
}

void QemuMachine::prepare_save(std::function<void(Status)> done)
{
    qmp_.execute("query-status", Json::object(),
                 [this, alive = alive_, done = std::move(done)](Result<Json> state) mutable {
                     if (!*alive)
                         return;
                     if (!state)
                         return done(pass(state));
                     if (Status may = may_be_saved(*state); !may)
                         return done(std::move(may));
                     if (json_bool(*state, "running"))
                         return done({});
                     activate_disks(std::move(done));
                 });
}

} // namespace drover::qemu
