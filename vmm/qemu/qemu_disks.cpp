// SPDX-License-Identifier: GPL-2.0-or-later
//
// Disk images change hands with the guest. QEMU opens those of an incoming guest inactive, and
// gives its own up when its migration has completed; "cont" takes them. A guest that is not to run
// must own its images all the same, or the next migration aborts QEMU 7.2, which gives up what it
// has not.
#include "vmm/qemu/qemu_machine.h"

#include <array>
#include <memory>

namespace drover::qemu {

namespace {

bool contains(const std::string& text, std::string_view part)
{
    return text.find(part) != std::string::npos;
}

/// QEMU 7.2 has no command that only activates an image. Exporting one does that first; then this
/// export is refused, since there is none over TCP: so nothing is left behind.
Json impossible_export(const Json& node)
{
    return Json{{"type", "vhost-user-blk"},
                {"id", "drover-activates"},
                {"node-name", json_string(node, "node-name")},
                {"writable", !json_bool(node, "ro")},
                {"addr", {{"type", "inet"}, {"host", "localhost"}, {"port", "0"}}}};
}

/// Whether the refusal is one that comes after the activation: the guest's device shares its image
/// with no other writer, or all is well but for the address.
bool was_active(const std::string& refusal)
{
    constexpr std::array reasons = {"Only socket address types", "Permission conflict",
                                    "Conflicts with use"};
    for (const char* reason : reasons)
        if (contains(refusal, reason))
            return true;
    return false;
}

Error not_activated(const std::string& what, const std::string& why)
{
    return {ErrorKind::Machine, "QEMU could not take over the disk image " + what + ": " + why,
            "does another QEMU have it open?"};
}

} // namespace

/// Takes over (and locks) all images, of a guest that does not run.
void QemuMachine::activate_disks(std::function<void(Status)> done)
{
    qmp_.execute(
        "blockdev-set-active", Json{{"active", true}}, // from QEMU 10 on
        [this, alive = alive_, done = std::move(done)](const Result<Json>& answer) mutable {
            if (!*alive)
                return;
            if (answer)
                return done({});
            if (!contains(answer.error().message, "not been found"))
                return done(std::unexpected(not_activated("", answer.error().message)));
            qmp_.execute("query-named-block-nodes", Json{{"flat", true}},
                         [this, alive, done = std::move(done)](Result<Json> nodes) mutable {
                             if (!*alive)
                                 return;
                             if (!nodes)
                                 return done(pass(nodes));
                             std::vector<Json> list;
                             if (nodes->is_array())
                                 list.assign(nodes->begin(), nodes->end());
                             activate_nodes(std::move(list), std::move(done));
                         });
        });
}

/// One after the other, from the list's end.
void QemuMachine::activate_nodes(std::vector<Json> nodes, std::function<void(Status)> done)
{
    if (nodes.empty())
        return done({});
    const Json node = std::move(nodes.back());
    nodes.pop_back();
    qmp_.execute("block-export-add", impossible_export(node),
                 [this, alive = alive_, node, nodes = std::move(nodes),
                  done = std::move(done)](const Result<Json>& answer) mutable {
                     if (!*alive)
                         return;
                     if (!answer && !was_active(answer.error().message))
                         return done(std::unexpected(not_activated(
                             json_string(node, "file", json_string(node, "node-name").c_str()),
                             answer.error().message)));
                     if (answer) // it cannot be; but then it must not stay
                         qmp_.execute("block-export-del",
                                      Json{{"id", "drover-activates"}, {"mode", "hard"}},
                                      [](const Result<Json>&) {});
                     activate_nodes(std::move(nodes), std::move(done));
                 });
}

/// QEMU refuses a guest in some states, but only when all of its RAM has been copied; in others it
/// aborts, or forgets what the guest was.
void QemuMachine::prepare_save(std::function<void(Status)> done)
{
    qmp_.execute("query-status", Json::object(),
                 [this, alive = alive_, done = std::move(done)](Result<Json> state) mutable {
                     if (!*alive)
                         return;
                     if (!state)
                         return done(pass(state));
                     if (json_bool(*state, "running"))
                         return done({});
                     const std::string status = json_string(*state, "status");
                     if (status == "postmigrate")
                         return done(drover::fail(
                             ErrorKind::Refused,
                             "this QEMU can move the guest, which was paused when a migration of "
                             "it ended after its devices had been saved, only once it has run",
                             "cont it, and stop it again if it is to stay paused"));
                     if (status == "suspended")
                         return done(
                             drover::fail(ErrorKind::Refused,
                                          "the guest is suspended to RAM, and would not arrive so",
                                          "wake it up first: system_wakeup"));
                     activate_disks(std::move(done));
                 });
}

} // namespace drover::qemu
