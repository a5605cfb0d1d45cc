// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/fleet.h"

#include "contrib/balancer/cluster/config_rules.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

constexpr double sample_period = 1;
constexpr double facts_period = 60;
constexpr double answer_limit = 10;
constexpr size_t most_vms = 10'000; // of one host

} // namespace

std::string FleetVm::standstill() const
{
    if (state != "running" && state != "paused")
        return "it is " + state;
    if (settling)
        return "it has just come to its host, which can let it go in half a minute";
    for (const char* dead :
         {"internal-error", "guest-panicked", "shutdown", "crash", "postmigrate"})
        if (run_state == dead)
            return "its guest does not run any more (" + run_state + "): reset or end it";
    for (const char* busy : {"save-vm", "restore-vm", "finish-migrate", "colo", "debug"})
        if (run_state == busy)
            return "its emulator is busy with something else (" + run_state + ")";
    return {};
}

Fleet::Fleet(LinkMaker make_link, const TimeSource& time, Callbacks callbacks)
    : make_link_(std::move(make_link)), time_(time), callbacks_(std::move(callbacks))
{
}

void Fleet::configure(const Config& config)
{
    std::set<std::string> wanted;
    for (const HostConfig& host : config.hosts) {
        wanted.insert(host.name);
        const auto known = hosts_.find(host.name);
        const bool same = known != hosts_.end() && known->second.config.address == host.address;
        FleetHost& place = hosts_[host.name];
        place.config = host;
        if (same)
            continue;
        place = {.config = host, .since = time_.now()};
        links_[host.name] = {};
        links_[host.name].door = make_link_(
            host, [this, name = host.name](const Json& event) { on_event(name, event); });
    }
    std::erase_if(hosts_, [&](const auto& entry) { return !wanted.contains(entry.first); });
    std::erase_if(links_, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

HostDoor* Fleet::door(const std::string& host) const
{
    const auto link = links_.find(host);
    return link == links_.end() ? nullptr : link->second.door.get();
}

const FleetHost* Fleet::host(const std::string& name) const
{
    const auto found = hosts_.find(name);
    return found == hosts_.end() ? nullptr : &found->second;
}

void Fleet::tick()
{
    for (auto& [name, link] : links_)
        look_at(name, link);
}

void Fleet::look_at(const std::string& name, Link& link)
{
    FleetHost& host = hosts_[name];
    const bool up = link.door->is_up();
    if (up != host.up) {
        host.up = up;
        host.since = time_.now();
        for (Poll* poll : {&link.load, &link.vms, &link.facts})
            *poll = {.number = poll->number + 1}; // of the former connection
        callbacks_.host_changed(name);
    }
    if (!up)
        return;
    ask(name, &Link::facts, "query-host", facts_period, &Fleet::take_facts);
    ask(name, &Link::load, "query-load", sample_period, &Fleet::take_load);
    ask(name, &Link::vms, "query-vms", sample_period, &Fleet::take_vms);
}

void Fleet::ask(const std::string& name, Poll Link::*poll, const char* command, double period,
                void (Fleet::*take)(FleetHost&, const Json&))
{
    Link& link = links_[name];
    Poll& state = link.*poll;
    const double since = time_.now() - state.asked;
    if (since < (state.outstanding ? answer_limit : period))
        return;
    state.asked = time_.now();
    state.outstanding = true;
    const uint64_t number = ++state.number;
    link.door->execute(command, Json::object(),
                       [this, alive = std::weak_ptr<int>(alive_), name, poll, number,
                        take](const HostDoor::Answer& answer) {
                           if (alive.expired())
                               return;
                           const auto to = links_.find(name);
                           if (to == links_.end() || (to->second.*poll).number != number)
                               return; // too late
                           (to->second.*poll).outstanding = false;
                           if (answer)
                               (this->*take)(hosts_[name], *answer);
                       });
}

void Fleet::take_facts(FleetHost& host, const Json& answer)
{
    if (answer.is_object())
        host.facts = answer;
}

void Fleet::take_load(FleetHost& host, const Json& answer)
{
    if (!answer.is_object() || !answer.contains("host") || !answer["host"].is_object())
        return;
    host.load = host_load_from_json(answer["host"]);
    host.load_at = time_.now();
    if (!answer.contains("vms") || !answer["vms"].is_array())
        return;
    for (const Json& entry : answer["vms"]) {
        VmLoad load = vm_load_from_json(entry);
        const auto vm = host.vms.find(load.name);
        if (vm == host.vms.end())
            continue;
        vm->second.load = std::move(load);
        vm->second.load_at = time_.now();
    }
}

void Fleet::take_vms(FleetHost& host, const Json& answer)
{
    if (!answer.is_array() || answer.size() > most_vms)
        return;
    std::map<std::string, FleetVm> vms;
    for (const Json& entry : answer) {
        const std::string name = entry.is_object() ? json_string(entry, "name") : std::string();
        if (!is_name(name))
            continue;
        FleetVm& vm = vms[name];
        if (const auto before = host.vms.find(name); before != host.vms.end()) {
            vm.load = std::move(before->second.load);
            vm.load_at = before->second.load_at;
        }
        vm.name = name;
        vm.uuid = json_string(entry, "uuid");
        vm.kind = json_string(entry, "kind", "drover");
        vm.state = json_string(entry, "state", "unreachable");
        vm.run_state = json_string(entry, "run-state");
        vm.migration = json_string(entry, "migration");
        vm.settling = json_bool(entry, "settling");
        if (const auto definition = entry.find("definition");
            definition != entry.end() && definition->is_object())
            vm.definition = *definition;
    }
    host.vms = std::move(vms);
    host.vms_at = time_.now();
    for (const auto& [name, vm] : host.vms)
        if (vm.state == "incoming" && !vm.migration.empty())
            callbacks_.waiting(host.config.name, name, vm.migration);
}

void Fleet::on_event(const std::string& host, const Json& event)
{
    const auto link = links_.find(host);
    if (link == links_.end())
        return;
    const std::string name = event.is_object() ? json_string(event, "event") : std::string();
    if (name == "VM_CHANGED" && !link->second.vms.outstanding)
        link->second.vms.asked = -1e9; // ask at the next tick
    if (name == "VM_MIGRATION")
        callbacks_.host_changed(host);
}

std::map<std::string, Fleet::Place> Fleet::places() const
{
    std::map<std::string, Place> places;
    for (const auto& [name, host] : hosts_) {
        for (const auto& [vm_name, vm] : host.vms) {
            if (!vm.has_guest())
                continue;
            Place& place = places[vm_name];
            const bool first = place.host == nullptr;
            const bool twice = !first;
            // Whoever was heard of later knows better; but nothing is done while two claim it.
            if (first || host.vms_at > place.host->vms_at)
                place = {&host, &vm, twice};
            place.twice = twice;
        }
    }
    return places;
}

Fleet::Place Fleet::locate(const std::string& vm) const
{
    const auto all = places();
    const auto found = all.find(vm);
    return found == all.end() ? Place{} : found->second;
}

} // namespace drover::balancer::cluster
