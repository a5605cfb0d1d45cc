// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/vm.h"

#include <algorithm>
#include <array>

namespace drover::balancer {

namespace {

/// xl, Xen and a new drover-xen need some seconds; a host that is busy more.
constexpr std::chrono::seconds handover_limit{30};

constexpr std::array state_names = {"starting", "running", "paused",     "incoming",
                                    "moving",   "moved",   "unreachable"};

/// Events after which the run state may be another: QEMU's names.
constexpr std::array status_events = {"STOP",    "RESUME", "SHUTDOWN",       "RESET",
                                      "SUSPEND", "WAKEUP", "GUEST_PANICKED", "MIGRATION"};

} // namespace

std::string_view to_string(VmState state)
{
    return state_names.at(static_cast<size_t>(state));
}

Json vm_state_json(const VmRecord& record)
{
    return {{"definition", to_json(record.definition)},
            {"pid", record.process.pid},
            {"start-time", record.process.start_time},
            {"socket", record.socket},
            {"directory", record.directory},
            {"migration", record.migration},
            {"adopted", record.adopted},
            {"takes-in", record.takes_in}};
}

Result<VmRecord> vm_record_from_state(const Json& state)
{
    if (!state.is_object() || !state.contains("definition"))
        return fail(ErrorKind::Invalid, "this is no record of a VM");
    auto definition = vm_definition_from_json(state["definition"]);
    if (!definition)
        return pass(definition);
    VmRecord record;
    record.definition = std::move(*definition);
    if (const auto pid = state.find("pid"); pid != state.end() && pid->is_number_integer())
        record.process.pid = pid->get<pid_t>();
    record.process.start_time = json_u64(state, "start-time");
    record.socket = json_string(state, "socket");
    record.directory = json_string(state, "directory");
    record.migration = json_string(state, "migration");
    record.adopted = json_bool(state, "adopted");
    record.takes_in = json_bool(state, "takes-in");
    return record;
}

Vm::Vm(VmRecord record, Callbacks callbacks)
    : record_(std::move(record)), callbacks_(std::move(callbacks)),
      watch_(record_.process, [this] { callbacks_.ended(*this); }),
      link_(record_.socket, {.up = [this] { connected(); },
                             .down =
                                 [this] {
                                     if (hands_over_ && !run_state_.empty())
                                         assume(run_state_);
                                     run_state_.clear();
                                     callbacks_.changed(*this);
                                 },
                             .event = [this](const Json& event) { take_event(event); }})
{
}

VmState Vm::state() const
{
    if (away_)
        return VmState::Moved;
    if (run_state_ == "inmigrate" || incoming_)
        return VmState::Incoming; // even if it does not answer yet: whatever it does, it waits
    const std::string& run_state = run_state_.empty() ? assumed_ : run_state_;
    if (run_state.empty())
        return link_.is_up() ? VmState::Starting : VmState::Unreachable;
    if (!record_.migration.empty())
        return VmState::Moving;
    return run_state == "running" ? VmState::Running : VmState::Paused;
}

bool Vm::is_settling() const
{
    const bool has_come = record_.takes_in && !incoming_ && !away_ && record_.migration.empty();
    return has_come || !assumed_.empty();
}

void Vm::assume(const std::string& run_state)
{
    assumed_ = run_state;
    assumed_limit_ = loop::after(handover_limit, [this] {
        assumed_.clear();
        callbacks_.changed(*this);
    });
}

void Vm::set_migration(const std::string& id, bool incoming, bool away)
{
    record_.migration = id;
    incoming_ = incoming;
    away_ = away;
}

void Vm::connected()
{
    const Json events = {{"capability", "events"}, {"state", true}};
    link_.execute("migrate-set-capabilities", {{"capabilities", Json::array({events})}},
                  [](const Result<Json>&) {});
    link_.execute("query-uuid", Json::object(), [this](const Result<Json>& uuid) {
        if (uuid)
            uuid_ = json_string(*uuid, "UUID");
    });
    link_.execute("query-cpus-fast", Json::object(),
                  [this](const Result<Json>& vcpus) { take_vcpus(vcpus); });
    refresh();
}

void Vm::refresh()
{
    link_.execute("query-status", Json::object(),
                  [this](const Result<Json>& status) { take_status(status); });
}

void Vm::take_status(const Result<Json>& status)
{
    if (!status)
        return; // it comes again when the link is up
    run_state_ = json_string(*status, "status");
    assumed_.clear();
    assumed_limit_.reset();
    callbacks_.changed(*this);
    callbacks_.migration_news(*this);
}

void Vm::take_vcpus(const Result<Json>& vcpus)
{
    if (!vcpus || !vcpus->is_array())
        return;
    vcpu_threads_.clear();
    for (const Json& vcpu : *vcpus)
        if (const uint64_t thread = json_u64(vcpu, "thread-id"); thread > 0 && thread < INT32_MAX)
            vcpu_threads_.push_back(static_cast<pid_t>(thread));
}

void Vm::take_event(const Json& event)
{
    const std::string name = json_string(event, "event");
    if (std::find(status_events.begin(), status_events.end(), name) != status_events.end())
        refresh();
}

Json Vm::describe() const
{
    Json json = {{"name", name()},
                 {"uuid", uuid_},
                 {"pid", record_.process.pid},
                 {"kind", to_string(record_.definition.kind)},
                 {"state", to_string(state())},
                 {"run-state", run_state_},
                 {"definition", to_json(record_.definition)},
                 {"adopted", record_.adopted}};
    if (!record_.migration.empty())
        json["migration"] = record_.migration;
    if (is_settling())
        json["settling"] = true;
    return json;
}

} // namespace drover::balancer
