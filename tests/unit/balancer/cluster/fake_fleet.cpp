// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/balancer/cluster/fake_fleet.h"

#include <algorithm>

namespace drover::balancer::cluster::testing {

void VirtualTime::at(double delay, std::function<void()> what)
{
    due_.push({now_ + delay, ++order_, std::move(what)});
}

void VirtualTime::run(double seconds, const std::function<void()>& after_each)
{
    const double end = now_ + seconds;
    while (!due_.empty() && due_.top().time <= end) {
        Due next = due_.top();
        due_.pop();
        now_ = std::max(now_, next.time);
        next.what();
        after_each();
    }
    now_ = end;
}

class FakeFleet::Door : public HostDoor {
public:
    Door(FakeFleet& fleet, std::string name) : fleet_(fleet), name_(std::move(name)) {}
    [[nodiscard]] bool is_up() const override { return fleet_.is_up(name_); }
    void execute(const std::string& command, Json arguments, Reply reply) override
    {
        fleet_.execute(name_, command, std::move(arguments), std::move(reply));
    }

private:
    FakeFleet& fleet_;
    std::string name_;
};

std::unexpected<DoorError> refused(std::string text, std::string error_class)
{
    return std::unexpected(
        DoorError{DoorError::Kind::Refused, std::move(error_class), std::move(text)});
}

FakeFleet::FakeFleet(VirtualTime& time, uint64_t seed, bool blind)
    : time_(time), random_(seed), blind_(blind)
{
}

bool FakeFleet::chance(double part)
{
    return std::uniform_real_distribution<double>(0, 1)(random_) < part;
}

double FakeFleet::between(double low, double high)
{
    return std::uniform_real_distribution<double>(low, high)(random_);
}

void FakeFleet::add_host(const std::string& name)
{
    host_names_.push_back(name);
    hosts_[name] = {};
}

void FakeFleet::add_vm(const std::string& name, const std::string& host)
{
    vms_.push_back(name);
    hosts_[host].emulators[name] = {};
}

std::unique_ptr<HostDoor> FakeFleet::make_door(const std::string& host)
{
    return std::make_unique<Door>(*this, host);
}

bool FakeFleet::is_up(const std::string& name) const
{
    const Host& host = hosts_.at(name);
    return host.daemon_up && host.linked;
}

void FakeFleet::claim(const std::string& vm, const std::string& host)
{
    hosts_[host].emulators[vm] = {};
}

/// A request and its answer travel for a while; either may be lost on the way.
void FakeFleet::execute(const std::string& name, const std::string& command, Json arguments,
                        HostDoor::Reply reply)
{
    if (!may_send())
        return;
    ++commands_;
    const uint64_t life = balancer_life_;
    const uint64_t connection = hosts_[name].connection;
    const bool lost =
        chance(faults.lose_request) || (forecasts_hang && command == "query-vm-forecast");
    const bool late = lost && chance(faults.late);
    const double travel = late ? between(5, 40) : between(0.001, 0.05);
    if (lost && !late)
        return;
    time_.at(travel, [=, this, arguments = std::move(arguments), reply = std::move(reply)] {
        Host& host = hosts_[name];
        if (!host.daemon_up || (!late && (!host.linked || connection != host.connection)))
            return;
        HostDoor::Answer answer = carry_out(name, command, arguments);
        if (chance(faults.garbage))
            answer = garbage();
        if (late || chance(faults.lose_reply))
            return;
        time_.at(between(0.001, 0.05), [=, this] {
            const Host& there = hosts_[name];
            if (life == balancer_life_ && there.linked && connection == there.connection)
                reply(answer);
        });
    });
}

Json FakeFleet::garbage()
{
    switch (random_() % 8) {
    case 0: return nullptr;
    case 1: return Json::array({1, "two", nullptr});
    case 2: return "completed";
    case 3: return {{"migration", 7}, {"status", 12}, {"uri", Json::array()}};
    case 4: return {{"migration", "m-other"}, {"name", "vm0"}, {"status", "completed"}};
    case 5: return {{"uri", std::string(100'000, 'x')}, {"status", std::string(100'000, 'y')}};
    case 6: return Json::array({{{"name", "vm1"}}, 3});
    default: return {{"status", "failed"}, {"role", "source"}, {"guest-here", "yes"}};
    }
}

HostDoor::Answer FakeFleet::carry_out(const std::string& host, const std::string& command,
                                      const Json& arguments)
{
    const std::string id = json_string(arguments, "migration");
    if (command == "vm-prepare")
        return prepare(host, arguments);
    if (command == "vm-migrate")
        return migrate(host, arguments);
    if (command == "vm-cancel")
        return cancel(host, id);
    if (command == "vm-confirm")
        return confirm(host, arguments);
    if (command == "vm-abandon")
        return abandon(host, arguments);
    if (command == "query-vm-migration")
        return query(host, id);
    if (command == "query-vms")
        return query_vms(host);
    if (command == "query-load")
        return query_load(host);
    if (command == "query-host")
        return Json{{"name", host}, {"cores", 4}, {"memory", 8e9}, {"offers", {"tcg"}}};
    if (command == "query-vm-forecast") {
        ++forecasts_asked;
        forecast_question = arguments;
        if (!foretells)
            return refused("the link's bandwidth is not known");
        return Json{{"ways",
                     {{{"way", "precopy"},
                       {"possible", true},
                       {"keeps-wish", true},
                       {"total", {{"expected", 5}}},
                       {"bytes", {{"expected", 1e9}}},
                       {"downtime", {{"expected", 0.02}}}}}}};
    }
    return refused("no such command", "CommandNotFound");
}

void FakeFleet::set_link(double bytes_s, double seconds)
{
    link_ = bytes_s;
    migration_s_ = seconds;
}

Json FakeFleet::nics_of(const std::string& host) const
{
    if (link_ <= 0) // an idle one, faster at a than elsewhere
        return {{{"name", "eth0"}, {"capacity", host == "a" ? 1.25e9 : 125e6}}};
    double rx = 0;
    double tx = 0;
    for (const auto& [id, transfer] : transfers_) {
        if (transfer.phase != Phase::Active)
            continue;
        rx += transfer.to == host ? link_ : 0;
        tx += transfer.from == host ? link_ : 0;
    }
    return {{{"name", "eth0"}, {"capacity", link_}, {"rx", rx}, {"tx", tx}}};
}

bool FakeFleet::is_held(const std::string& host, const std::string& vm) const
{
    const auto guest = hosts_.at(host).emulators.find(vm);
    return guest != hosts_.at(host).emulators.end() && guest->second.held;
}

Json FakeFleet::query_load(const std::string& name) const
{
    const Host& host = hosts_.at(name);
    Json vms = Json::array();
    int running = 0;
    for (const auto& [vm, emulator] : host.emulators) {
        running += emulator.kind == Emulator::Kind::Runs;
        vms.push_back({{"name", vm}, {"vcpus", 2}, {"cpu", vm_cpu_}, {"memory", 1e9}});
    }
    return {{"host",
             {{"cores", 4},
              {"cpu-busy", vm_cpu_ * running},
              {"memory-total", 8e9},
              {"memory-available", 6e9},
              {"nics", nics_of(name)}}},
            {"vms", std::move(vms)}};
}

Json FakeFleet::query_vms(const std::string& name) const
{
    Json list = Json::array();
    for (const auto& [vm, emulator] : hosts_.at(name).emulators) {
        const char* state = "running";
        if (emulator.kind == Emulator::Kind::Incoming || emulator.held)
            state = "incoming";
        else if (emulator.kind == Emulator::Kind::Gone)
            state = "moved";
        else if (!emulator.migration.empty())
            state = "moving";
        Json entry = {
            {"name", vm},
            {"state", state},
            {"definition", {{"name", vm}, {"kind", stock.contains(vm) ? "qemu" : "drover"}}}};
        if (!emulator.migration.empty())
            entry["migration"] = emulator.migration;
        if (settling.contains(vm))
            entry["settling"] = true;
        if (const auto run_state = run_states.find(vm); run_state != run_states.end()) {
            entry["state"] = run_state->second == "shut-off" ? "shut-off" : "paused";
            entry["run-state"] = run_state->second;
        }
        list.push_back(std::move(entry));
    }
    return list;
}

bool FakeFleet::linked(const std::string& a, const std::string& b) const
{
    const auto cut = cut_until_.find(std::minmax(a, b));
    return cut == cut_until_.end() || cut->second <= time_.now();
}

void FakeFleet::kill_daemon(const std::string& name, double back_after)
{
    Host& host = hosts_[name];
    ++host.connection;
    if (!host.daemon_up)
        return;
    host.daemon_up = false;
    time_.at(back_after, [this, name] { hosts_[name].daemon_up = true; });
}

void FakeFleet::cut_balancer_link(const std::string& name, double back_after)
{
    Host& host = hosts_[name];
    ++host.connection;
    if (!host.linked)
        return;
    host.linked = false;
    time_.at(back_after, [this, name] { hosts_[name].linked = true; });
}

void FakeFleet::cut_host_link(const std::string& a, const std::string& b, double back_after)
{
    cut_until_[std::minmax(a, b)] = time_.now() + back_after;
    for (auto& [id, transfer] : transfers_) // one that copies notices, and gives up
        if (transfer.phase == Phase::Active &&
            std::minmax(transfer.from, transfer.to) == std::minmax(a, b))
            fail(transfer, Phase::Failed);
}

void FakeFleet::kill_waiting_emulator(const std::string& name)
{
    for (auto& [id, transfer] : transfers_) {
        if (transfer.to != name || !transfer.target_lives)
            continue;
        if (transfer.phase == Phase::Waiting || transfer.phase == Phase::Active)
            return fail(transfer, Phase::Failed);
    }
}

std::string FakeFleet::host_of(const std::string& vm) const
{
    for (const auto& [name, host] : hosts_) {
        const auto emulator = host.emulators.find(vm);
        if (emulator != host.emulators.end() && emulator->second.kind == Emulator::Kind::Runs)
            return name;
    }
    return {};
}

bool FakeFleet::did_move(const std::string& migration) const
{
    const auto transfer = transfers_.find(migration);
    return transfer != transfers_.end() && transfer->second.phase == Phase::Completed;
}

std::string FakeFleet::complaint() const
{
    for (const std::string& vm : vms_) {
        int owners = 0;
        for (const auto& [name, host] : hosts_) {
            const auto emulator = host.emulators.find(vm);
            owners +=
                emulator != host.emulators.end() && emulator->second.kind == Emulator::Kind::Runs;
        }
        if (owners != 1)
            return vm + " has " + std::to_string(owners) + " owners";
    }
    return {};
}

std::string FakeFleet::complaint_when_settled() const
{
    for (const auto& [name, host] : hosts_)
        for (const auto& [vm, emulator] : host.emulators) {
            if (emulator.held)
                return "on " + name + " " + vm + " stands still";
            if (emulator.kind != Emulator::Kind::Runs || !emulator.migration.empty())
                return "on " + name + " " + vm + " is left in migration " + emulator.migration;
        }
    return complaint();
}

} // namespace drover::balancer::cluster::testing
