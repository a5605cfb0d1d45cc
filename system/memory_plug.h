// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "monitor/qmp_server.h"
#include "system/migrate_control.h"
#include "vmm/qemu/qemu_machine.h"
#include "vmm/qemu/ram_plan.h"

#include <functional>
#include <memory>
#include <string>

namespace drover {

/// Memory that users plug while the guest runs. object-add of a memory back-end becomes what it
/// would be on the command line: a shared file of Drover's, which QEMU opens. So it is carried, and
/// tracked, as all RAM is, and it does not matter which side names it on its line and which plugs
/// it. Loop thread only.
class MemoryPlug {
public:
    /// Passes a command on to QEMU.
    using PassOn = std::function<void(QmpRequest request, QmpResponder respond)>;

    /// `engine`: the monitor for Drover's own commands. All must outlive this.
    MemoryPlug(QmpClient& engine, qemu::QemuMachine& machine, MigrateControl& control);
    ~MemoryPlug();
    MemoryPlug(const MemoryPlug&) = delete;
    MemoryPlug& operator=(const MemoryPlug&) = delete;

    /// Carries out object-add and object-del, of memory and of all else.
    void add(QmpRequest request, QmpResponder respond, PassOn pass_on);
    void remove(QmpRequest request, const QmpResponder& respond, const PassOn& pass_on);
    /// HMP's object_del ID, passed on already: has it gone?
    void may_have_gone(const std::string& id);

    /// Memory is being added: neither a migration nor a forecast may begin.
    [[nodiscard]] bool is_busy() const { return busy_ > 0; }

private:
    struct Plug;
    void opened(const std::shared_ptr<Plug>& plug, const Json& descriptor);
    void changed();

    QmpClient& engine_;
    qemu::QemuMachine& machine_;
    MigrateControl& control_;
    unsigned busy_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
