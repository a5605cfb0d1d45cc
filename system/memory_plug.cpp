// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/memory_plug.h"

#include "vmm/qemu/ram_file.h"

namespace drover {

/// One object-add on its way.
struct MemoryPlug::Plug {
    QmpRequest request;
    QmpResponder respond;
    PassOn pass_on;
    RamBlock block;
};

MemoryPlug::MemoryPlug(QmpClient& engine, qemu::QemuMachine& machine, MigrateControl& control)
    : engine_(engine), machine_(machine), control_(control)
{
}

MemoryPlug::~MemoryPlug()
{
    *alive_ = false;
}

void MemoryPlug::add(QmpRequest request, QmpResponder respond, PassOn pass_on)
{
    auto planned = qemu::plan_plugged_ram(request.arguments, qemu::HostFacts::of_this_host());
    if (!planned)
        return respond(QmpResponse::error(planned.error()));
    // An id that there is already is refused by QEMU, in its words.
    if (!*planned || machine_.has_ram((*planned)->ram.id))
        return pass_on(std::move(request), std::move(respond));
    if (control_.phase() != GuestPhase::Free)
        return respond(QmpResponse::error("object-add not allowed while migrating"));
    auto block = qemu::create_ram_block((*planned)->ram);
    if (!block)
        return respond(QmpResponse::error(block.error()));
    auto copy = block->file.duplicate();
    if (!copy)
        return respond(QmpResponse::error(copy.error()));
    request.arguments = std::move((*planned)->arguments);
    auto plug = std::make_shared<Plug>(
        Plug{std::move(request), std::move(respond), std::move(pass_on), std::move(*block)});
    ++busy_;
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(*copy));
    engine_.execute(
        "add-fd", Json{{"opaque", "drover-ram"}},
        [this, alive = alive_, plug](const Result<Json>& descriptor) {
            if (!*alive)
                return;
            if (descriptor)
                return opened(plug, *descriptor);
            --busy_;
            plug->respond(QmpResponse::error(descriptor.error()));
        },
        std::move(fds));
}

/// QEMU has the file, and said under which number: it opens it by that, and needs the number no
/// more when it has answered.
void MemoryPlug::opened(const std::shared_ptr<Plug>& plug, const Json& descriptor)
{
    const Json set{{"fdset-id", json_u64(descriptor, "fdset-id")}};
    if (control_.phase() != GuestPhase::Free) { // a guest has begun to come in meanwhile
        engine_.execute("remove-fd", set, [](const Result<Json>&) {});
        --busy_;
        return plug->respond(QmpResponse::error("object-add not allowed while migrating"));
    }
    plug->request.arguments["mem-path"] =
        "/proc/self/fd/" + std::to_string(json_u64(descriptor, "fd"));
    plug->pass_on(std::move(plug->request),
                  [this, alive = alive_, plug, set](const QmpResponse& response) {
                      if (!*alive)
                          return;
                      engine_.execute("remove-fd", set, [](const Result<Json>&) {});
                      if (!response.body.contains("error"))
                          machine_.ram_plugged(std::move(plug->block));
                      changed();
                      plug->respond(response); // the client's next command may run within it
                  });
}

void MemoryPlug::remove(QmpRequest request, const QmpResponder& respond, const PassOn& pass_on)
{
    const std::string id = json_string(request.arguments, "id");
    if (!machine_.has_ram(id))
        return pass_on(std::move(request), respond);
    if (control_.phase() != GuestPhase::Free)
        return respond(QmpResponse::error("object-del not allowed while migrating"));
    ++busy_;
    pass_on(std::move(request), [this, alive = alive_, id, respond](const QmpResponse& response) {
        if (!*alive)
            return;
        if (!response.body.contains("error"))
            machine_.ram_unplugged(id);
        changed();
        respond(response);
    });
}

void MemoryPlug::may_have_gone(const std::string& id)
{
    if (!machine_.has_ram(id))
        return;
    ++busy_;
    engine_.execute("query-memdev", Json::object(),
                    [this, alive = alive_, id](const Result<Json>& memdevs) {
                        if (!*alive)
                            return;
                        bool there = !memdevs;
                        if (memdevs)
                            for (const Json& memdev : *memdevs)
                                there = there || json_string(memdev, "id") == id;
                        if (!there)
                            machine_.ram_unplugged(id);
                        changed();
                    });
}

/// A forecast looks at the RAM as it was. It ends one turn of the loop later, as does our being
/// busy; where a guest has begun to come in, the change waits for the next migration.
void MemoryPlug::changed()
{
    control_.ram_changes();
    loop::post([this, alive = alive_] {
        if (!*alive)
            return;
        --busy_;
        if (control_.phase() == GuestPhase::Free)
            machine_.settle_ram();
    });
}

} // namespace drover
