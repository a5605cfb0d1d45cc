// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_vms_state.h"

#include "contrib/balancer/host/adopt.h"
#include "contrib/balancer/host/state_file.h"
#include "contrib/balancer/host/taps.h"
#include "monitor/qmp_server.h"
#include "util/log.h"

#include <algorithm>
#include <csignal>
#include <glob.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

/// A new emulator that has said nothing for so long is shown as it is.
constexpr std::chrono::seconds start_limit{30};

} // namespace

Result<std::string> text_argument(const Json& arguments, const char* name)
{
    const auto found = arguments.find(name);
    if (found == arguments.end() || !found->is_string())
        return fail(ErrorKind::Invalid, std::string("Parameter '") + name + "' is missing");
    return found->get<std::string>();
}

HostVms::HostVms(const DroverdConfig& config, std::vector<std::string> cgroups, Callbacks callbacks)
    : config_(config), cgroups_(std::move(cgroups)), callbacks_(std::move(callbacks)),
      kept_(config.definition_directory.empty() ? config.state_directory + "/definitions"
                                                : config.definition_directory)
{
}

HostVms::~HostVms() = default;

std::string HostVms::directory_of(const std::string& name) const
{
    return config_.state_directory + "/run/" + name;
}

std::string HostVms::state_of(const std::string& name) const
{
    return config_.state_directory + "/vms/" + name + ".json";
}

Vm* HostVms::add(VmRecord record)
{
    const std::string name = record.definition.name;
    Vm::Callbacks callbacks{.changed = [this](Vm& vm) { changed(vm); },
                            .migration_news = [this](Vm& vm) { callbacks_.migration_news(vm); },
                            .ended = [this](Vm& vm) { ended(vm); }};
    auto& entry = vms_[name];
    entry = std::make_unique<Entry>(std::move(record), std::move(callbacks));
    return &entry->vm;
}

Result<Vm*> HostVms::start(VmRecord record, VmStart how)
{
    const std::string name = record.definition.name;
    if (vms_.contains(name))
        return fail(ErrorKind::Refused, "there is a VM " + name + " on this host already",
                    "end it first, or choose another name");
    if (Status may = check_start(record.definition, how); !may)
        return std::unexpected(std::move(may.error()));
    record.directory = directory_of(name);
    record.socket = record.directory + "/qmp.sock";
    if (const Status made = make_directories(record.directory); !made)
        return std::unexpected(made.error());
    // First the file, then the process: a droverd that dies in between knows what to look for.
    if (const Status saved = save_state(state_of(name), vm_state_json(record)); !saved)
        return std::unexpected(saved.error());
    how.cgroups = cgroups_;
    Status started = start_vm(config_, how, record);
    if (!started) {
        remove_state(state_of(name));
        return std::unexpected(std::move(started.error()).in("starting " + name));
    }
    // Not saved is not lost: it is found again by its environment.
    if (const Status saved = save_state(state_of(name), vm_state_json(record)); !saved)
        log::warning(saved.error().text());
    return add(std::move(record));
}

Status HostVms::check_start(const VmDefinition& definition, const VmStart& how)
{
    if (Status unseen = check_not_unseen(definition.name); !unseen)
        return unseen;
    if (closing_)
        return fail(ErrorKind::Refused, "this host is being shut down: it starts no VM");
    return definition.kind == VmKind::Xen ? check_xen(definition, how) : Status();
}

void HostVms::answer_when_up(const std::string& name, const Answer& answer)
{
    Entry& entry = *vms_.at(name);
    entry.waiting = answer;
    entry.limit = loop::after(start_limit, [&entry, name] {
        if (auto waiting = std::exchange(entry.waiting, nullptr))
            waiting(Json{{"name", name}});
    });
}

void HostVms::adopt(const Json& arguments, const Answer& answer)
{
    if (arguments.contains("domain"))
        return adopt_domain(arguments, answer);
    const auto socket = text_argument(arguments, "socket");
    if (!socket)
        return answer(std::unexpected(socket.error()));
    auto record = adopt_emulator(*socket, arguments.value("definition", Json::object()));
    if (!record)
        return answer(pass(record));
    const std::string name = record->definition.name;
    if (vms_.contains(name) || kept_.find(name) != nullptr)
        return answer(fail(ErrorKind::Refused, "there is a VM " + name + " on this host already"));
    record->directory = directory_of(name);
    Status kept = make_directories(record->directory);
    if (kept)
        kept = save_state(state_of(name), vm_state_json(*record));
    if (!kept)
        return answer(std::unexpected(kept.error()));
    unseen_.erase(name);
    add(std::move(*record));
    answer_when_up(name, answer);
}

void HostVms::adopt_by_pattern()
{
    for (const std::string& pattern : config_.adopt) {
        if (pattern.starts_with(xen_pattern)) {
            adopt_domains(pattern.substr(xen_pattern.size()));
            continue;
        }
        glob_t found = {};
        if (glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0) {
            for (size_t i = 0; i < found.gl_pathc; ++i) {
                const std::string path = found.gl_pathv[i];
                const bool known = std::any_of(vms_.begin(), vms_.end(), [&path](const auto& vm) {
                    return vm.second->vm.record().socket == path;
                });
                if (!known)
                    adopt({{"socket", path}}, [path](const Result<Json>& adopted) {
                        if (!adopted)
                            log::debug("not adopted: " + path + ": " + adopted.error().text());
                    });
            }
        }
        globfree(&found);
    }
}

void HostVms::end(const Json& arguments, const Answer& answer)
{
    const auto name = text_argument(arguments, "name");
    Vm* vm = name ? find(*name) : nullptr;
    if (vm == nullptr)
        return answer(
            fail(ErrorKind::Invalid, "there is no VM " + name.value_or("without a name")));
    if (!vm->record().migration.empty())
        return answer(fail(ErrorKind::Refused,
                           *name + " is in the migration " + vm->record().migration,
                           "cancel that first (vm-cancel)"));
    const bool force = json_bool(arguments, "force");
    if (!force)
        return press_power_button(*vm, answer);
    stop(*vm);
    answer(Json::object());
}

/// At once, in words where it listens; by force if it is still there when its time is over.
void HostVms::stop(Vm& vm)
{
    if (vm.record().definition.kind == VmKind::Xen && !vms_.at(vm.name())->retired)
        run_xl_later({"destroy", vm.name()}); // and its server ends with it
    else if (vm.link().is_up())
        vm.link().execute("quit", Json::object(), [](const Result<Json>&) {});
    else
        end_process(vm.record().process, SIGTERM);
    vms_.at(vm.name())->grace =
        loop::after(std::chrono::seconds(config_.end_limit_s), [process = vm.record().process] {
            log::warning("process " + std::to_string(process.pid) + " does not end: killed");
            end_process(process, SIGKILL);
        });
}

void HostVms::execute(const Json& arguments, const Answer& answer)
{
    const auto name = text_argument(arguments, "name");
    const auto command = text_argument(arguments, "command");
    if (!name || !command)
        return answer(std::unexpected(name ? command.error() : name.error()));
    Vm* vm = find(*name);
    if (vm == nullptr)
        return answer(fail(ErrorKind::Invalid, "there is no VM " + *name));
    vm->link().execute(*command, arguments.value("arguments", Json::object()), answer);
}

/// It is what its source says that it is: what of that this host would do must be harmless.
Status HostVms::take_foreign(VmDefinition& definition) const
{
    if (Status here = adapt_kind(definition, xen_ != nullptr); !here)
        return here;
    if (definition.kind == VmKind::Xen) // its command is for others
        return check_foreign_xen_config(definition.xen_config, config_.definitions);
    const std::string directory = directory_of(definition.name);
    std::vector<std::string> command;
    command.reserve(definition.command.size());
    for (const std::string& word : definition.command)
        command.push_back(expand(word, config_.name, directory));
    return check_foreign_command(command, config_.definitions, directory);
}

Result<Vm*> HostVms::start_incoming(VmDefinition definition, const std::string& migration,
                                    bool held)
{
    if (const Status taken = take_foreign(definition); !taken)
        return std::unexpected(taken.error());
    const std::string name = definition.name;
    // One whose migration's end is not known here has gone on elsewhere: it comes from there.
    if (const KeptVm* kept = kept_.find(name); kept != nullptr && kept->migration.empty())
        return fail(ErrorKind::Refused,
                    "there is a VM " + name + " on this host already" +
                        (vms_.contains(name) ? "" : ", which is shut off"),
                    "end it and forget it first (vm-forget)");
    // From here on it may be that only we know of it: its source forgets what it has sent.
    if (!vms_.contains(name))
        if (const Status kept = kept_.keep({definition, migration}); !kept)
            return std::unexpected(kept.error());
    VmRecord record;
    record.definition = std::move(definition);
    record.migration = migration;
    record.takes_in = record.definition.kind == VmKind::Xen;
    auto vm = start(std::move(record), {.incoming = true, .held = held, .cgroups = {}});
    if (vm)
        (*vm)->set_migration(migration, true, false);
    else if (!vms_.contains(name))
        kept_.forget(name);
    return vm;
}

Status HostVms::set_migration(Vm& vm, const std::string& id, bool incoming)
{
    VmRecord record = vm.record();
    record.migration = id;
    Status saved = save_state(state_of(vm.name()), vm_state_json(record));
    if (saved && !record.adopted)
        saved = kept_.keep({record.definition, id});
    if (!saved && !id.empty())
        return saved;
    vm.set_migration(id, incoming, false); // what is over is over, whatever the disk says
    changed(vm);
    return saved;
}

void HostVms::retire(Vm& vm, bool guest_is_away)
{
    kept_.forget(vm.name());
    vms_.at(vm.name())->retired = true;
    vm.set_migration(vm.record().migration, !guest_is_away, guest_is_away);
    changed(vm);
    stop(vm);
}

Vm* HostVms::find(const std::string& name)
{
    const auto found = vms_.find(name);
    return found == vms_.end() || found->second->ending ? nullptr : &found->second->vm;
}

Json HostVms::list() const
{
    Json list = Json::array();
    for (const auto& [name, entry] : vms_)
        list.push_back(entry->vm.describe());
    for (const auto& [name, kept] : kept_.all())
        if (!vms_.contains(name))
            list.push_back(to_json(kept));
    return list;
}

std::vector<Vm*> HostVms::all()
{
    std::vector<Vm*> result;
    result.reserve(vms_.size());
    for (const auto& [name, entry] : vms_)
        result.push_back(&entry->vm);
    return result;
}

void HostVms::changed(Vm& vm)
{
    const auto found = vms_.find(vm.name());
    if (found == vms_.end())
        return; // its process has gone, and its connection breaks after that
    Entry& entry = *found->second;
    if (vm.knows_state())
        if (auto waiting = std::exchange(entry.waiting, nullptr))
            waiting(Json{{"name", vm.name()}});
    const std::string state(to_string(vm.state()));
    if (std::exchange(entry.shown, state) != state)
        announce(vm.name(), state);
}

void HostVms::ended(Vm& vm)
{
    if (vm.record().definition.kind == VmKind::Xen) // whose guest is more than a process
        return look_for_domain(*vms_.at(vm.name()));
    gone(vm);
}

void HostVms::gone(Vm& vm)
{
    const std::string name = vm.name();
    Entry& entry = *vms_.at(name);
    entry.ending = true;
    if (auto waiting = std::exchange(entry.waiting, nullptr)) {
        if (entry.is_new)
            kept_.forget(name); // a command line that does not work
        waiting(fail(ErrorKind::Machine, "the emulator of " + name + " ended: " +
                                             last_words(vm.record().directory + "/emulator.log")));
    }
    callbacks_.ended(vm);
    if (vm.record().definition.kind != VmKind::Xen)
        remove_taps(vm.record().definition);
    unlink(vm.record().adopted ? "" : vm.record().socket.c_str());
    remove_state(state_of(name));
    announce(name, kept_.find(name) != nullptr ? "shut-off" : "gone");
    // We were called by the Vm itself.
    loop::post([gone = std::shared_ptr<Entry>(std::move(vms_.at(name)))] {});
    vms_.erase(name);
    closed_one();
}

void HostVms::migration_settled(const std::string& name, const std::string& id, bool guest_stays)
{
    const KeptVm* kept = kept_.find(name);
    if (!guest_stays && kept != nullptr && kept->migration == id && find(name) == nullptr)
        kept_.forget(name);
}

void HostVms::announce(const std::string& name, std::string_view state)
{
    callbacks_.event(make_event("VM_CHANGED", {{"name", name}, {"state", state}}));
}

} // namespace drover::balancer
