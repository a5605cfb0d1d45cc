// SPDX-License-Identifier: GPL-2.0-or-later
//
// VMs that do not run: created, started, forgotten; what a boot begins and a shutdown ends.
#include "contrib/balancer/host/host_vms_state.h"

#include "util/log.h"

#include <algorithm>

namespace drover::balancer {

namespace {

/// After emulators were told to end by force, and killed where they did not.
constexpr std::chrono::seconds farewell{5};
constexpr unsigned usual_shutdown_s = 120;

} // namespace

/// A guest whose migration's end is not known here may run where it was going to: never twice.
Status HostVms::may_start(const std::string& name, bool force) const
{
    const KeptVm* kept = kept_.find(name);
    if (kept == nullptr || kept->migration.empty() || force)
        return {};
    return fail(ErrorKind::Refused,
                name + " was in the migration " + kept->migration +
                    ", and may run at its destination",
                "look there first; if it runs nowhere: vm-start with \"force\"");
}

void HostVms::create(const Json& arguments, const Answer& answer)
{
    Result<VmDefinition> definition = VmDefinition{};
    if (const std::string file = json_string(arguments, "file"); !file.empty())
        definition = read_vm_file(file);
    else
        definition = vm_definition_from_json(arguments.value("definition", Json()));
    if (!definition)
        return answer(pass(definition));
    const std::string name = definition->name;
    if (const Status may = may_start(name, false); !may)
        return answer(std::unexpected(may.error()));
    VmRecord record;
    record.definition = std::move(*definition);
    const VmDefinition kept = record.definition;
    const auto vm = start(std::move(record));
    if (!vm)
        return answer(std::unexpected(vm.error()));
    vms_.at(name)->is_new = true;
    if (const Status saved = kept_.keep({kept, {}}); !saved)
        log::warning(name + " will not outlive a reboot: " + saved.error().text());
    answer_when_up(name, answer);
}

void HostVms::start_kept(const Json& arguments, const Answer& answer)
{
    const auto name = text_argument(arguments, "name");
    if (!name)
        return answer(std::unexpected(name.error()));
    const KeptVm* kept = kept_.find(*name);
    if (kept == nullptr)
        return answer(fail(ErrorKind::Invalid, "there is no VM " + *name + " on this host",
                           "vm-create makes one"));
    if (const Status may = may_start(*name, json_bool(arguments, "force")); !may)
        return answer(std::unexpected(may.error()));
    VmRecord record;
    record.definition = kept->definition;
    const auto vm = start(std::move(record));
    if (!vm)
        return answer(std::unexpected(vm.error()));
    if (const Status saved = kept_.keep({(*vm)->record().definition, {}}); !saved)
        log::warning(saved.error().text());
    answer_when_up(*name, answer);
}

void HostVms::forget(const Json& arguments, const Answer& answer)
{
    const auto name = text_argument(arguments, "name");
    if (!name || kept_.find(*name) == nullptr)
        return answer(
            fail(ErrorKind::Invalid, "there is no VM " + name.value_or("without a name")));
    if (vms_.contains(*name))
        return answer(
            fail(ErrorKind::Refused, *name + " is not shut off", "end it first (vm-end)"));
    kept_.forget(*name);
    announce(*name, "gone");
    answer(Json::object());
}

void HostVms::start_at_boot()
{
    if (!kept_.is_new_boot())
        return;
    for (const auto& [name, kept] : std::map(kept_.all())) {
        if (!kept.definition.autostart || vms_.contains(name))
            continue;
        start_kept({{"name", name}}, [name](const Result<Json>& started) {
            if (!started)
                log::warning(name + " is not started: " + started.error().text());
        });
    }
}

void HostVms::shut_down(const Json& arguments, const Answer& answer)
{
    if (closing_)
        return answer(fail(ErrorKind::Refused, "this host is being shut down already"));
    closing_ = answer;
    for (Vm* vm : all())
        if (!vm->record().adopted)
            press_power_button(*vm, [](const Result<Json>&) {});
    const auto limit = static_cast<unsigned>(
        std::min<uint64_t>(json_u64(arguments, "limit", usual_shutdown_s), 86'400));
    closing_limit_ = loop::after(std::chrono::seconds(limit), [this] { shut_down_by_force(); });
    closed_one();
}

void HostVms::shut_down_by_force()
{
    for (Vm* vm : all()) {
        if (vm->record().adopted || !vm->record().migration.empty())
            continue; // one that is moved may be elsewhere by now
        log::warning(vm->name() + " did not shut down in time: its emulator is ended");
        stop(*vm);
    }
    closing_limit_ =
        loop::after(std::chrono::seconds(config_.end_limit_s) + farewell, [this] { closed(); });
}

/// One of those that shut_down() waits for may have ended.
void HostVms::closed_one()
{
    const bool more = std::any_of(vms_.begin(), vms_.end(), [](const auto& entry) {
        return !entry.second->vm.record().adopted;
    });
    if (closing_ && !more)
        closed();
}

void HostVms::closed()
{
    closing_limit_.reset();
    Json left = Json::array();
    for (const auto& [name, entry] : vms_)
        left.push_back(name);
    if (const Answer answer = std::exchange(closing_, nullptr))
        answer(Json{{"left", std::move(left)}});
}

} // namespace drover::balancer
