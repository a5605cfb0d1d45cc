// SPDX-License-Identifier: GPL-2.0-or-later
//
// Whether a guest could go to a host: a destination is prepared there as for a migration, the guest
// asks it, and it is ended again. Nothing is moved, and nothing is written down: what we leave
// behind when we die ends by its host's waiting-limit.
#include "contrib/balancer/cluster/balancer.h"

#include "contrib/balancer/cluster/leftovers.h"
#include "util/log.h"

namespace drover::balancer::cluster {

namespace {

/// One such question. It owns itself: who waits for an answer has it.
struct GuestCheck : std::enable_shared_from_this<GuestCheck> {
    std::string id;
    std::string vm;
    std::string from;
    std::string to;
    std::string owner;
    Json definition;
    const DoorFinder* find_door = nullptr; ///< the balancer's, which outlives the doors
    std::function<void(Result<Json>)> done;

    void ask(const std::string& host, const char* command, Json arguments,
             std::function<void(const HostDoor::Answer&)> take)
    {
        HostDoor* door = (*find_door)(host);
        if (door == nullptr || !door->is_up())
            return done(fail(ErrorKind::Connection, host + " cannot be reached"));
        door->execute(command, std::move(arguments),
                      [self = shared_from_this(),
                       take = std::move(take)](const HostDoor::Answer& answer) { take(answer); });
    }

    void prepare()
    {
        ask(to, "vm-prepare", {{"migration", id}, {"definition", definition}, {"owner", owner}},
            [this](const HostDoor::Answer& answer) {
                if (!answer)
                    return end(fail(ErrorKind::Refused, to + " refused: " + answer.error().text));
                judge(*answer);
            });
    }

    void judge(const Json& prepared)
    {
        Json arguments{{"name", vm}, {"uri", json_string(prepared, "uri")}, {"check", true}};
        if (prepared.contains("tls-hostname"))
            arguments["tls-hostname"] = prepared["tls-hostname"];
        ask(from, "query-vm-forecast", std::move(arguments),
            [this](const HostDoor::Answer& answer) {
                end(answer ? Result<Json>(*answer)
                           : fail(ErrorKind::Refused, from + ": " + answer.error().text));
            });
    }

    void end(const Result<Json>& outcome)
    {
        if (HostDoor* door = (*find_door)(to); door != nullptr && door->is_up())
            door->execute("vm-abandon", {{"migration", id}, {"owner", owner}},
                          [](const HostDoor::Answer&) {});
        done(outcome);
    }
};

} // namespace

void Balancer::check_migration(const std::string& vm, const std::string& host,
                               std::function<void(Result<Json>)> done)
{
    const Fleet::Place place = fleet_.locate(vm);
    if (place.vm == nullptr)
        return done(fail(ErrorKind::Invalid, "no host has a VM " + vm, "see query-vms"));
    if (fleet_.host(host) == nullptr)
        return done(
            fail(ErrorKind::Invalid, "no host " + host + " is configured", "see query-hosts"));
    const std::string& from = place.host->config.name;
    if (from == host)
        return done(fail(ErrorKind::Invalid, vm + " is on " + host + " already"));
    if (mover_.of_vm(vm) != nullptr || !place.vm->migration.empty())
        return done(fail(ErrorKind::Refused, vm + " is in a migration"));
    const auto check = std::make_shared<GuestCheck>();
    check->id =
        "check-" + new_move_id(); // no migration of the journal's, which leftovers would miss
    check->vm = vm;
    check->from = from;
    check->to = host;
    check->owner = identity_;
    check->definition = place.vm->definition;
    check->find_door = &find_door_;
    check->done = std::move(done);
    check->prepare();
}

void Balancer::query_host_cpus(const std::string& host, std::function<void(Result<Json>)> done)
{
    HostDoor* door = find_door_(host);
    if (door == nullptr || !door->is_up())
        return done(fail(ErrorKind::Connection, door == nullptr
                                                    ? "no host " + host + " is configured"
                                                    : host + " cannot be reached"));
    door->execute("query-host-cpus", Json::object(),
                  [host, done = std::move(done)](const HostDoor::Answer& answer) {
                      done(answer ? Result<Json>(*answer)
                                  : fail(ErrorKind::Refused, host + ": " + answer.error().text));
                  });
}

} // namespace drover::balancer::cluster
