// SPDX-License-Identifier: GPL-2.0-or-later
//
// What users order.
#include "contrib/balancer/cluster/balancer.h"

#include "util/log.h"

namespace drover::balancer::cluster {

namespace {

constexpr size_t shown_faults = 5;

} // namespace

Result<Json> Balancer::migrate(const std::string& vm, const std::string& host,
                               const std::string& who)
{
    observe(); // as the hosts are now, not as they were a second ago
    auto move = parts_.judgement.choose(vm, host);
    if (!move)
        return pass(move);
    auto id = begin(*move, host.empty() ? "user-anywhere" : "user",
                    "asked for by " + who + (move->why.empty() ? "" : "; " + move->why));
    if (!id)
        return pass(id);
    return Json{{"id", *id}, {"from", move->from}, {"to", move->to}};
}

Result<Json> Balancer::evacuate(const std::string& host, bool cancel, const std::string& who)
{
    if (fleet_.host(host) == nullptr)
        return fail(ErrorKind::Invalid, "no host " + host + " is configured", "see query-hosts");
    if (cancel) {
        evacuating_.erase(host);
        remember_evacuations();
        note("evacuate", "", "the evacuation was ended by " + who, "", host);
        Json ended = Json::array();
        for (const Move* move : mover_.moves()) {
            const MoveRecord& record = move->record();
            if (record.from != host || record.wish != "evacuate" || !holds_vm(record.state))
                continue;
            ended.push_back(record.id);
            if (Status told = mover_.cancel(record.id); !told)
                log::warning(told.error().text());
        }
        return Json{{"moves", std::move(ended)}};
    }
    if (evacuating_.insert(host).second)
        note("evacuate", "", "ordered by " + who, "", host);
    remember_evacuations();
    observe();
    make_plan();
    act();
    Json moves = Json::array();
    for (const Move* move : mover_.moves())
        if (move->record().from == host && holds_vm(move->record().state))
            moves.push_back(move->record().id);
    return Json{{"moves", std::move(moves)}, {"remaining", remaining_on(host)}};
}

/// The guests that are not on their way from a host that is evacuated, and why.
Json Balancer::remaining_on(const std::string& host)
{
    Json list = Json::array();
    for (const auto& [name, place] : fleet_.places())
        if (place.host->config.name == host && mover_.of_vm(name) == nullptr)
            list.push_back({{"vm", name}, {"why", why_it_stays(name, place)}});
    return list;
}

std::string Balancer::why_it_stays(const std::string& vm, const Fleet::Place& place)
{
    if (place.twice)
        return "two hosts say that they have it";
    if (!place.host->up)
        return place.host->config.name + " cannot be reached";
    if (std::string why = place.vm->standstill(); !why.empty())
        return why;
    for (const PlannedMove& planned : plan_.moves) {
        if (planned.move.vm != vm)
            continue;
        const std::string to = "it is to go to " + planned.move.to;
        if (planned.state == "forecasting")
            return to + ", and is asked first what that will cost";
        return to + (planned.note.empty() ? " in its turn" : ": " + planned.note);
    }
    if (is_pinned(place))
        return "it is pinned: only drover migrate moves it";
    if (const double pause = mover_.vm_pauses().left(vm, parts_.time.now()); pause > 0)
        return "its last migration failed: it is tried again in " +
               std::to_string(static_cast<int>(pause) + 1) + " s";
    const auto choice = parts_.judgement.choose(vm, "");
    return choice ? "it waits for its turn" : choice.error().text();
}

/// They outlive a restart: a host that is being emptied is not filled again.
void Balancer::remember_evacuations()
{
    Json hosts = Json::array();
    for (const std::string& host : evacuating_)
        hosts.push_back(host);
    if (Status kept = parts_.journal.set("evacuating", dump_json(hosts)); !kept)
        log::warning(kept.error().text());
}

Status Balancer::cancel(const std::string& id, const std::string& who)
{
    Status told = mover_.find(id) != nullptr ? mover_.cancel(id) : cancel_foreign(id);
    if (told)
        note("cancel", id, "asked for by " + who);
    return told;
}

/// One that another balancer began, or this one before it lost its journal: its source is asked to
/// keep the guest, and the target then ends by itself. Where nobody came yet, the target is told.
Status Balancer::cancel_foreign(const std::string& id)
{
    for (const bool incoming : {false, true})
        for (const auto& [name, host] : fleet_.hosts())
            for (const auto& [vm_name, vm] : host.vms) {
                if (vm.migration != id || (vm.state == "incoming") != incoming)
                    continue;
                if (!host.up)
                    return fail(ErrorKind::Refused,
                                name + ", which has a part in " + id + ", cannot be reached",
                                "try again when it can");
                Json arguments = {{"migration", id}};
                if (incoming)
                    arguments["force"] = true;
                fleet_.door(name)->execute(incoming ? "vm-abandon" : "vm-cancel",
                                           std::move(arguments),
                                           [id, host = name](const HostDoor::Answer& answer) {
                                               if (!answer)
                                                   log::warning("cancelling " + id + ": " + host +
                                                                ": " + answer.error().text);
                                           });
                return {};
            }
    return fail(ErrorKind::Invalid, "no migration " + id + " is under way");
}

Status Balancer::set_mode(Mode mode, const std::string& who)
{
    const std::string former(to_string(mode_));
    mode_ = mode; // even if it cannot be kept: "off" must always work
    note("mode", "", former + " → " + std::string(to_string(mode)) + ", by " + who);
    parts_.event("MODE", {{"mode", to_string(mode)}, {"former", former}});
    return parts_.journal.set("mode", std::string(to_string(config_.mode)) + " " +
                                          std::string(to_string(mode)));
}

Result<Json> Balancer::reload()
{
    ConfigReading reading = read_config_file(parts_.config_file);
    if (!reading.faults.empty()) {
        std::string text;
        for (size_t i = 0; i < reading.faults.size() && i < shown_faults; ++i)
            text += (i > 0 ? "; " : "") + describe(parts_.config_file, reading.faults[i]);
        log::error("the configuration stays as it was: " + text);
        return fail(ErrorKind::Invalid, text, "the configuration stays as it was");
    }
    Config& fresh = reading.config;
    Json restart = Json::array();
    if (fresh.listen != config_.listen)
        restart.push_back("listen");
    if (fresh.journal != config_.journal)
        restart.push_back("journal");
    const auto files = [](const Config& c) {
        return c.tls ? c.tls->ca + "\n" + c.tls->cert + "\n" + c.tls->key : std::string();
    };
    if (files(fresh) != files(config_))
        restart.push_back("tls");
    const bool mode_changed = fresh.mode != config_.mode;
    config_ = std::move(fresh);
    fleet_.configure(config_);
    note("reload", "", parts_.config_file);
    log::info("the configuration was read again: " + parts_.config_file);
    if (mode_changed)
        if (Status set = set_mode(config_.mode, "the configuration"); !set)
            log::warning(set.error().text());
    return Json{{"restart-needed", std::move(restart)}};
}

} // namespace drover::balancer::cluster
