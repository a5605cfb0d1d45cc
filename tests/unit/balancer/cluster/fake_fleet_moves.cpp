// SPDX-License-Identifier: GPL-2.0-or-later
//
// The fake fleet's migrations: what its daemons say and what its emulators do.
#include "tests/unit/balancer/cluster/fake_fleet.h"

#include <algorithm>

namespace drover::balancer::cluster::testing {

namespace {

constexpr double waiting_limit = 200; // droverd's, for a source that does not come

} // namespace

HostDoor::Answer FakeFleet::prepare(const std::string& name, const Json& arguments)
{
    Host& host = hosts_[name];
    const std::string id = json_string(arguments, "migration");
    const std::string vm = json_string(arguments["definition"], "name");
    if (!host.records.contains(id)) {
        if (host.emulators.contains(vm))
            return refused(vm + " is here already");
        host.records[id] = {"destination", json_string(arguments, "owner")};
        time_.at(waiting_limit, [this, id] {
            if (transfers_[id].phase == Phase::Waiting)
                fail(transfers_[id], Phase::Failed);
        });
        host.emulators[vm] = {Emulator::Kind::Incoming, id};
        transfers_[id] = {.vm = vm,
                          .from = "",
                          .to = name,
                          .told_from = json_string(arguments, "source-host"),
                          .held = json_bool(arguments, "confirms")};
    } else if (!transfers_[id].target_lives) {
        return refused("it is over");
    }
    return Json{{"uri", "tcp:" + name + ":4444"}};
}

HostDoor::Answer FakeFleet::migrate(const std::string& name, const Json& arguments)
{
    Host& host = hosts_[name];
    const std::string id = json_string(arguments, "migration");
    const std::string vm = json_string(arguments, "name");
    if (host.records.contains(id))
        return Json::object();
    const auto emulator = host.emulators.find(vm);
    if (emulator == host.emulators.end() || emulator->second.kind != Emulator::Kind::Runs)
        return refused("no VM " + vm + " runs here", "DeviceNotFound");
    if (!emulator->second.migration.empty())
        return refused(vm + " is being moved");
    policy_asked = json_string(arguments, "policy");
    host.records[id] = {"source", json_string(arguments, "owner")};
    Transfer& transfer = transfers_[id];
    transfer.vm = vm;
    transfer.from = name;
    emulator->second.migration = id;
    if (!transfer.target_lives || transfer.to.empty()) {
        fail(transfer, Phase::Failed);
        return Json::object();
    }
    transfer.phase = Phase::Active;
    const double seconds = migration_s_ > 0
                               ? migration_s_
                               : between(shortest_transfer, std::max(8.0, shortest_transfer + 1));
    time_.at(seconds, [this, id] { go_on(id); });
    return Json::object();
}

/// The emulators by themselves: nobody's daemon is needed.
void FakeFleet::go_on(const std::string& id)
{
    Transfer& transfer = transfers_[id];
    const bool link = linked(transfer.from, transfer.to);
    if (transfer.phase == Phase::Active) {
        if (!link || !transfer.target_lives || chance(0.1))
            return fail(transfer, Phase::Failed);
        transfer.phase = Phase::Handover;
        time_.at(between(0.01, 0.5), [this, id] { go_on(id); });
    } else if (transfer.phase == Phase::Handover) {
        if (transfer.held && (!link || chance(0.1))) // stock QEMU's source asks nobody
            split(transfer);
        else if (!link) // the source asks, until it hears
            time_.at(between(0.1, 3), [this, id] { go_on(id); });
        else if (!transfer.target_lives || chance(0.1))
            fail(transfer, Phase::Failed);
        else
            complete(id, transfer);
    }
}

void FakeFleet::fail(Transfer& transfer, Phase how)
{
    if (!transfer.from.empty() && transfer.phase != Phase::Split) // there it is over already
        hosts_[transfer.from].emulators[transfer.vm].migration.clear();
    if (transfer.target_lives && !transfer.to.empty())
        hosts_[transfer.to].emulators.erase(transfer.vm);
    transfer.target_lives = false;
    transfer.phase = how;
}

void FakeFleet::split(Transfer& transfer)
{
    transfer.phase = Phase::Split;
    hosts_[transfer.from].emulators[transfer.vm].migration.clear();
}

void FakeFleet::complete(const std::string& id, Transfer& transfer)
{
    transfer.phase = Phase::Completed;
    transfer.source_died = transfer.held && chance(0.2);
    hosts_[transfer.to].emulators[transfer.vm] = {.migration = transfer.held ? id : "",
                                                  .held = transfer.held};
    hosts_[transfer.from].emulators[transfer.vm] = {Emulator::Kind::Gone, id};
    // Its daemon ends the old emulator, as soon as there is one.
    const auto end = [this, host = transfer.from, vm = transfer.vm, id](auto&& self) -> void {
        time_.at(between(0.05, 0.5), [this, host, vm, id, self] {
            const auto old = hosts_[host].emulators.find(vm);
            if (old == hosts_[host].emulators.end() || old->second.migration != id)
                return;
            if (hosts_[host].daemon_up)
                hosts_[host].emulators.erase(old);
            else
                self(self);
        });
    };
    end(end);
}

HostDoor::Answer FakeFleet::cancel(const std::string& name, const std::string& id)
{
    if (!hosts_[name].records.contains(id))
        return refused("no such migration", "DeviceNotFound");
    if (transfers_[id].phase == Phase::Active)
        fail(transfers_[id], Phase::Cancelled);
    return Json::object();
}

HostDoor::Answer FakeFleet::confirm(const std::string& name, const Json& arguments)
{
    Host& host = hosts_[name];
    const std::string id = json_string(arguments, "migration");
    if (!host.records.contains(id))
        return refused("no such migration", "DeviceNotFound");
    Transfer& transfer = transfers_[id];
    if (transfer.phase == Phase::Split) // whoever says this now doubles the guest
        host.emulators[transfer.vm] = {};
    else if (transfer.phase != Phase::Completed)
        return refused("no guest has come");
    else if (is_held(name, transfer.vm))
        host.emulators[transfer.vm] = {};
    return Json::object();
}

HostDoor::Answer FakeFleet::abandon(const std::string& name, const Json& arguments)
{
    Host& host = hosts_[name];
    const std::string id = json_string(arguments, "migration");
    if (!host.records.contains(id))
        return refused("no such migration", "DeviceNotFound");
    if (!blind_ && host.records[id].owner != json_string(arguments, "owner") &&
        !json_bool(arguments, "force"))
        return refused("it is another balancer's");
    Transfer& transfer = transfers_[id];
    if (transfer.phase == Phase::Split && !blind_ && !json_bool(arguments, "guest-at-source"))
        return refused("the guest may be here");
    const bool by_mistake = is_held(name, transfer.vm) && json_bool(arguments, "guest-at-source");
    if (transfer.phase == Phase::Completed || transfer.phase == Phase::Handover) {
        if (!blind_ && !by_mistake)
            return refused("the guest may be here");
        host.emulators.erase(transfer.vm);
        transfer.target_lives = false;
        return Json::object();
    }
    if (transfer.target_lives)
        fail(transfer, Phase::Failed);
    return Json::object();
}

HostDoor::Answer FakeFleet::query(const std::string& name, const std::string& id) const
{
    const Host& host = hosts_.at(name);
    const auto record = host.records.find(id);
    if (record == host.records.end())
        return refused("no such migration", "DeviceNotFound");
    const Transfer& transfer = transfers_.at(id);
    const bool source = record->second.role == "source";
    const char* status = "failed";
    switch (transfer.phase) {
    case Phase::Waiting: status = transfer.target_lives ? "waiting" : "failed"; break;
    case Phase::Active: status = "active"; break;
    case Phase::Handover: status = "asking"; break;
    case Phase::Split: status = source ? "failed" : "asking"; break;
    case Phase::Completed:
        if (source && transfer.source_died)
            break; // "failed", and the guest is not there
        status = !source && is_held(name, transfer.vm) ? "asking" : "completed";
        break;
    case Phase::Failed: status = "failed"; break;
    case Phase::Cancelled: status = "cancelled"; break;
    }
    const bool moved = transfer.phase == Phase::Completed;
    return Json{{"migration", id},
                {"name", transfer.vm},
                {"role", record->second.role},
                {"status", status},
                {"guest-here", source != moved},
                {"held", transfer.held},
                {"source-host", transfer.told_from},
                {"total", 1000},
                {"remaining", 10},
                {"rate", source && transfer.phase == Phase::Active ? link_ : 0}};
}

} // namespace drover::balancer::cluster::testing
