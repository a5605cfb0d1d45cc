// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/kept_vms.h"

#include "contrib/balancer/host/state_file.h"
#include "util/fd.h"
#include "util/log.h"

namespace drover::balancer {

std::string KeptVms::file_of(const std::string& name) const
{
    return directory_ + "/" + name + ".json";
}

Status KeptVms::load()
{
    if (const Status made = make_directories(directory_); !made)
        return made;
    for (const std::string& name : list_states(directory_)) {
        auto state = load_state(file_of(name));
        auto definition = state ? vm_definition_from_json(state->value("definition", Json()))
                                : Result<VmDefinition>(pass(state));
        if (definition && definition->name == name)
            vms_[name] = {std::move(*definition), json_string(*state, "migration")};
        else if (!definition)
            log::warning("left aside: " + std::move(definition.error()).in(file_of(name)).text());
    }
    return {};
}

bool KeptVms::is_new_boot()
{
    const std::string file = directory_ + "/last-boot"; // no ".json": no VM
    const auto boot = read_file("/proc/sys/kernel/random/boot_id");
    const auto before = load_state(file);
    const Json now = {{"boot-id", boot.value_or("")}};
    if (before && *before == now)
        return false;
    if (const Status saved = save_state(file, now); !saved)
        log::warning(saved.error().text());
    return true;
}

Status KeptVms::keep(const KeptVm& vm)
{
    const std::string& name = vm.definition.name;
    if (Status saved = save_state(
            file_of(name), {{"definition", to_json(vm.definition)}, {"migration", vm.migration}});
        !saved)
        return saved;
    vms_[name] = vm;
    return {};
}

void KeptVms::forget(const std::string& name)
{
    if (vms_.erase(name) > 0)
        remove_state(file_of(name));
}

const KeptVm* KeptVms::find(const std::string& name) const
{
    const auto found = vms_.find(name);
    return found == vms_.end() ? nullptr : &found->second;
}

/// Without a "pid": -1 would be all processes for whoever sends it a signal.
Json to_json(const KeptVm& vm)
{
    Json json = {{"name", vm.definition.name},
                 {"uuid", ""},
                 {"kind", to_string(vm.definition.kind)},
                 {"state", "shut-off"},
                 {"run-state", ""},
                 {"definition", to_json(vm.definition)},
                 {"adopted", false}};
    if (!vm.migration.empty())
        json["migration"] = vm.migration;
    return json;
}

} // namespace drover::balancer
