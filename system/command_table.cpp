// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/command_table.h"

#include <span>
#include <string_view>

namespace drover {

namespace {

/// Where a name ends in '*' it stands for all that begin like it.
using Names = std::span<const std::string_view>;

/// They change what the machine is made of. Neither blockdev-del nor object-del is among them: QEMU
/// refuses to take what a device uses, and libvirt takes a mirror's node and its TLS objects away
/// while the guest moves. For memory see MemoryPlug.
constexpr std::string_view changes_machine[] = {
    "device_add", "device_del",   "netdev_add",      "netdev_del",
    "object-add", "blockdev-add", "blockdev-reopen", "cpu-add",
};
constexpr std::string_view hmp_changes_machine[] = {
    "device_add", "device_del", "netdev_add", "netdev_del",
    "object_add", "drive_add",  "drive_del",  "cpu-add",
};

/// They write neither guest RAM nor what the guest sees of its devices. What moves disks is among
/// them: it has to end between the pause and migrate-continue.
constexpr std::string_view leaves_guest_alone[] = {
    // to look
    "query-*",
    "x-query-*",
    "qom-get",
    "qom-list*",
    "device-list-properties",
    "screendump",
    "memsave",
    "pmemsave",
    "trace-event-*",
    // to end
    "quit",
    "yank",
    // of migrations: Drover's own, or of disks
    "migrate*",
    "client_migrate_info",
    "block-job-*",
    "job-*",
    "nbd-server-*",
    "block-export-del",
    "block-dirty-bitmap-*",
    "blockdev-del",
    "object-del",
    // of monitors
    "human-monitor-command",
    "getfd",
    "closefd",
    "add-fd",
    "remove-fd",
    "set_password",
    "expire_password",
    // Drover's own rules are for these
    "cont",
    "stop",
};
constexpr std::string_view hmp_leaves_guest_alone[] = {
    "",
    "info",
    "help",
    "?",
    "print",
    "p",
    "x",
    "xp",
    "gva2gpa",
    "gpa2hva",
    "gpa2hpa",
    "qom-get",
    "qom-list",
    "screendump",
    "memsave",
    "pmemsave",
    "log",
    "logfile",
    "trace-event",
    "trace-file",
    "q",
    "quit",
    "migrate*",
    "client_migrate_info",
    "block_job_*",
    "nbd_server_*",
    "getfd",
    "closefd",
    "set_password",
    "expire_password",
    "object_del",
    // Drover's own rules are for these
    "c",
    "cont",
    "s",
    "stop",
};

bool lists(Names names, std::string_view word)
{
    for (std::string_view name : names) {
        const bool any_end = name.ends_with('*');
        if (any_end)
            name.remove_suffix(1);
        if (any_end ? word.starts_with(name) : word == name)
            return true;
    }
    return false;
}

Status decide(const std::string& command, GuestPhase phase, Names changing, Names harmless)
{
    const bool refused = (phase != GuestPhase::Free && lists(changing, command)) ||
                         (phase == GuestPhase::HandedOver && !lists(harmless, command));
    if (!refused)
        return {};
    return fail(ErrorKind::Refused, command + " not allowed while migrating");
}

} // namespace

Status may_pass(const std::string& command, GuestPhase phase)
{
    return decide(command, phase, changes_machine, leaves_guest_alone);
}

Status may_pass_hmp(const std::string& word, GuestPhase phase)
{
    return decide(word, phase, hmp_changes_machine, hmp_leaves_guest_alone);
}

} // namespace drover
