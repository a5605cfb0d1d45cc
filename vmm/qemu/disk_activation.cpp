// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/disk_activation.h"

#include <array>
#include <vector>

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

/// One after the other, from the list's end.
void activate_nodes(const ExecuteCommand& execute, std::vector<Json> nodes,
                    std::function<void(Status)> done)
{
    if (nodes.empty())
        return done({});
    const Json node = std::move(nodes.back());
    nodes.pop_back();
    execute("block-export-add", impossible_export(node),
            [execute, node, nodes = std::move(nodes),
             done = std::move(done)](const Result<Json>& answer) mutable {
                if (!answer && !was_active(answer.error().message))
                    return done(std::unexpected(not_activated(
                        json_string(node, "file", json_string(node, "node-name").c_str()),
                        answer.error().message)));
                if (answer) // it cannot be; but then it must not stay
                    execute("block-export-del", Json{{"id", "drover-activates"}, {"mode", "hard"}},
                            [](const Result<Json>&) {});
                activate_nodes(execute, std::move(nodes), std::move(done));
            });
}

} // namespace

void activate_disks(const ExecuteCommand& execute, std::function<void(Status)> done)
{
    execute("blockdev-set-active", Json{{"active", true}}, // from QEMU 10 on
            [execute, done = std::move(done)](const Result<Json>& answer) mutable {
                if (answer)
                    return done({});
                if (!contains(answer.error().message, "not been found"))
                    return done(std::unexpected(not_activated("", answer.error().message)));
                execute("query-named-block-nodes", Json{{"flat", true}},
                        [execute, done = std::move(done)](const Result<Json>& nodes) mutable {
                            if (!nodes)
                                return done(std::unexpected(nodes.error()));
                            std::vector<Json> list;
                            if (nodes->is_array())
                                list.assign(nodes->begin(), nodes->end());
                            activate_nodes(execute, std::move(list), std::move(done));
                        });
            });
}

} // namespace drover::qemu
