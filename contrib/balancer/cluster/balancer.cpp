// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/balancer.h"

#include "util/clock.h"
#include "util/log.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

constexpr double round_period = 1;
constexpr double mend_period = 10;
constexpr double prune_period = 3600;
constexpr int most_recalled = 1000;
constexpr int most_tries = 3; // of what a user asked for

} // namespace

Balancer::Balancer(Config config, Parts parts)
    : config_(std::move(config)), parts_(std::move(parts)), mode_(config_.mode),
      started_(parts_.time.wall()),
      fleet_(parts_.make_link, parts_.time,
             {.host_changed = [this](const std::string& host) { mover_.host_changed(host); },
              .waiting =
                  [this](const std::string& host, const std::string& vm,
                         const std::string& migration) {
                      if (!recovered_ || mover_.find(migration) != nullptr)
                          return;
                      leftovers_.seen(host, migration);
                      held_guests_.seen(host, vm, migration);
                  }}),
      find_door_([this](const std::string& host) { return fleet_.door(host); }),
      mover_(
          parts_.log != nullptr ? *parts_.log : parts_.journal, find_door_, parts_.time,
          {.patience = parts_.patience, .back_off = {}, .owner = identity_},
          [this](const MoveRecord& record) { on_move_changed(record); }, parts_.make_move_id),
      leftovers_(parts_.journal, find_door_, parts_.time, identity_),
      held_guests_(find_door_, parts_.time), forecasts_(parts_.judgement, parts_.time)
{
    fleet_.configure(config_);
    if (parts_.journal.trouble().empty())
        recover();
}

/// What the journal knows of a former run. Nothing is begun before.
void Balancer::recover()
{
    auto open = parts_.journal.open_moves();
    auto latest = parts_.journal.latest_moves(most_recalled, "");
    if (!open || !latest) {
        log::error("the journal cannot be read: " + (open ? latest : open).error().text());
        return;
    }
    if (Status known = know_oneself(); !known)
        return log::error(known.error().text());
    recovered_ = true;
    std::reverse(latest->begin(), latest->end());
    std::erase_if(*latest, [](const auto& record) { return record.state != MoveState::Closed; });
    mover_.recall(*latest);
    for (const MoveRecord& record : *latest)
        parts_.judgement.ended(record);
    if (!open->empty())
        log::info(std::to_string(open->size()) + " migrations of a former run are looked after");
    mover_.recover(std::move(*open));
    // A mode that was set by hand holds until the file's changes.
    const std::string file_mode(to_string(config_.mode));
    const std::string set = parts_.journal.get("mode").value_or("");
    if (set.starts_with(file_mode + " "))
        mode_ = mode_from(set.substr(file_mode.size() + 1)).value_or(mode_);
    const auto hosts = parse_json(parts_.journal.get("evacuating").value_or("[]"));
    if (hosts && hosts->is_array())
        for (const Json& host : *hosts)
            if (host.is_string())
                evacuating_.insert(host.get<std::string>());
}

/// A balancer is its journal's: whoever is started over it later owns the same migrations.
Status Balancer::know_oneself()
{
    auto kept = parts_.journal.get("identity");
    if (!kept)
        return pass(kept);
    if (!kept->empty()) {
        identity_ = *kept;
        return {};
    }
    if (identity_.empty()) // else the journal is new, and we are not
        identity_ = new_balancer_id();
    return parts_.journal.set("identity", identity_);
}

void Balancer::tick()
{
    fleet_.tick();
    mover_.tick();
    const double now = parts_.time.now();
    if (now < round_due_)
        return;
    round_due_ = std::max(round_due_ + round_period, now);
    const TimePoint start = Clock::now();
    round();
    round_ms_ = milliseconds_since(start);
}

void Balancer::round()
{
    mend_journal();
    forecasts_.tick();
    observe();
    take_hotspots();
    keep_promises();
    make_plan();
    act();
    retry_requests();
    const double now = parts_.time.now();
    if (now >= prune_due_ && recovered_) {
        prune_due_ = now + prune_period;
        if (Status pruned = parts_.journal.prune(); !pruned)
            log::warning(pruned.error().text());
    }
}

void Balancer::mend_journal()
{
    const double now = parts_.time.now();
    if ((parts_.journal.trouble().empty() && recovered_) || now < mend_due_)
        return;
    mend_due_ = now + mend_period;
    const std::string before = parts_.journal.trouble();
    if (Status mended = parts_.journal.mend(mover_.records()); !mended) {
        log::error(mended.error().text() + "; no migration is begun until it can be written");
        return;
    }
    log::info("the journal can be written again (it was: " + before + ")");
    if (!parts_.journal.notice().empty())
        log::warning(parts_.journal.notice());
    if (!recovered_)
        recover();
    else if (Status known = know_oneself(); !known)
        log::error(known.error().text());
}

void Balancer::observe()
{
    std::vector<ChosenMove> promised;
    for (const Promise& promise : promises_)
        if (!promise.after.empty()) // else it is due, and about to be looked at
            promised.push_back(promise.move);
    parts_.judgement.observe({config_, fleet_, mover_, evacuating_, promised});
}

void Balancer::take_hotspots()
{
    std::vector<ShownHotspot> now = parts_.judgement.hotspots();
    const auto ids_of = [](const std::vector<ShownHotspot>& list) {
        std::set<std::string> ids;
        for (const ShownHotspot& spot : list)
            ids.insert(spot.id);
        return ids;
    };
    std::vector<KeptHotspot> news;
    const auto tell = [&](const ShownHotspot& spot, const std::string& state) {
        Json data = spot.shown;
        data["state"] = state;
        parts_.event("HOTSPOT", data);
        news.push_back({std::move(data),
                        {parts_.time.wall(), "hotspot", spot.id, spot.vm, spot.host, "",
                         state + ": " + spot.text}});
    };
    const auto [known, current] = std::pair(ids_of(hotspots_), ids_of(now));
    for (const ShownHotspot& spot : now)
        if (!known.contains(spot.id))
            tell(spot, "begun");
    for (const ShownHotspot& spot : hotspots_)
        if (!current.contains(spot.id))
            tell(spot, "over");
    if (!news.empty())
        (void)parts_.journal.keep_hotspots(news); // mend_journal() says aloud what is wrong
    hotspots_ = std::move(now);
}

void Balancer::on_move_changed(const MoveRecord& record)
{
    auto& [state, outcome] = told_[record.id];
    if (std::exchange(state, record.state) != record.state || record.state == MoveState::Planned)
        parts_.event("MIGRATION", move_json(record, nullptr));
    // As soon as it is decided; cleaning up may take long.
    if (std::exchange(outcome, record.outcome) != record.outcome)
        on_decided(record);
    if (record.state == MoveState::Closed)
        told_.erase(record.id);
}

void Balancer::on_decided(const MoveRecord& record)
{
    parts_.judgement.ended(record);
    forecasts_.forget(record.vm);
    settle_promises(record);
    std::string line = "migration " + record.id + " of " + record.vm + " from " + record.from +
                       " to " + record.to + ": " + record.outcome;
    if (!record.error.empty())
        line += " (" + record.error + ")";
    log::info(line);
    if (record.wish != "user-anywhere" || record.outcome != "failed") {
        tries_.erase(record.vm);
        return;
    }
    const int tries = ++tries_[record.vm];
    if (tries >= most_tries)
        return void(tries_.erase(record.vm));
    const double pause = mover_.vm_pauses().left(record.vm, parts_.time.now());
    retries_.push_back({record.vm, parts_.time.now() + pause, tries});
}

/// What a user asked for without naming a host is tried elsewhere.
void Balancer::retry_requests()
{
    const double now = parts_.time.now();
    std::vector<Retry> due;
    std::copy_if(retries_.begin(), retries_.end(), std::back_inserter(due),
                 [now](const Retry& retry) { return retry.due <= now; });
    std::erase_if(retries_, [now](const Retry& retry) { return retry.due <= now; });
    for (const Retry& retry : due) {
        auto move = parts_.judgement.choose(retry.vm, "");
        const std::string why = "tried again, after " + std::to_string(retry.tries) + " failures";
        const auto begun = move ? begin(*move, "user-anywhere", why)
                                : Result<std::string>(std::unexpected(move.error()));
        if (!begun)
            note("migration", "", "not tried again: " + begun.error().text(), retry.vm);
    }
}

Result<std::string> Balancer::begin(const ChosenMove& move, const std::string& wish,
                                    const std::string& why)
{
    const Fleet::Place place = fleet_.locate(move.vm);
    const FleetHost* to = fleet_.host(move.to);
    if (!recovered_)
        return fail(ErrorKind::Refused,
                    "nothing is moved until the journal can be read: " + parts_.journal.trouble());
    if (place.host == nullptr || place.host->config.name != move.from || place.twice)
        return fail(ErrorKind::Refused, move.vm + " is not, or not only, on " + move.from);
    if (const std::string standing = place.vm->standstill(); !standing.empty())
        return fail(ErrorKind::Refused, move.vm + " cannot be moved: " + standing);
    if (const std::string other = foreign_move_of(move.vm); !other.empty())
        return fail(ErrorKind::Refused,
                    move.vm + " is in the migration " + other + ", which is not this balancer's",
                    "wait for its end, or end it: drover cancel " + other);
    if (!place.host->up || to == nullptr || !to->up)
        return fail(ErrorKind::Refused,
                    (place.host->up ? move.to : move.from) + " cannot be reached");
    Json definition = place.vm->definition;
    definition["name"] = move.vm;
    return mover_.begin({.vm = move.vm,
                         .from = move.from,
                         .to = move.to,
                         .definition = std::move(definition),
                         .policy = bounded_policy(move),
                         .why = why,
                         .wish = wish,
                         .cost = move.cost});
}

void Balancer::note(const std::string& what, const std::string& id, const std::string& text,
                    const std::string& vm, const std::string& from, const std::string& to)
{
    const Status noted = parts_.journal.note({parts_.time.wall(), what, id, vm, from, to, text});
    if (!noted)
        log::debug(noted.error().text()); // mend_journal() says it aloud
}

} // namespace drover::balancer::cluster
