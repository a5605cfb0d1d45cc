// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/mover.h"

#include <algorithm>
#include <cmath>

namespace drover::balancer::cluster {

void BackOff::failed(const std::string& name, double now)
{
    Pause& pause = pauses_[name];
    const double length = rules_.first * std::exp2(std::min(pause.failures, 20));
    ++pause.failures;
    pause.until = now + std::min(length, rules_.longest);
}

double BackOff::left(const std::string& name, double now) const
{
    const auto pause = pauses_.find(name);
    return pause == pauses_.end() ? 0 : std::max(0.0, pause->second.until - now);
}

Mover::Mover(MoveLog& log, DoorFinder find_door, const TimeSource& time, Config config,
             std::function<void(const MoveRecord&)> changed, std::function<std::string()> make_id)
    : time_(time), find_door_(std::move(find_door)), config_(config), changed_(std::move(changed)),
      make_id_(std::move(make_id)), around_{log,
                                            find_door_,
                                            time_,
                                            config_.patience,
                                            config_.owner,
                                            [this](const MoveRecord& record) {
                                                on_changed(record); }},
      vm_pauses_(config.back_off), host_pauses_(config.back_off)
{
}

void Mover::recover(std::vector<MoveRecord> open)
{
    for (MoveRecord& record : open) {
        const std::string id = record.id;
        moves_[id] = Move::recovered(std::move(record), around_);
    }
}

void Mover::recall(const std::vector<MoveRecord>& closed)
{
    const double wall = time_.wall();
    for (const MoveRecord& record : closed) {
        const double ago = wall - record.changed;
        if (ago >= 0 && ago < config_.back_off.longest)
            ended(record, time_.now() - ago);
    }
}

Result<std::string> Mover::begin(MoveOrder order)
{
    for (const auto& [id, move] : moves_) {
        const MoveRecord& other = move->record();
        if (other.vm != order.vm || other.state == MoveState::Closed)
            continue;
        if (holds_vm(other.state))
            return fail(ErrorKind::Refused,
                        order.vm + " is in migration " + id + " (" +
                            std::string(to_string(other.state)) + ")",
                        "wait for its end, or cancel it");
        if (other.to == order.to)
            return fail(ErrorKind::Refused,
                        "migration " + id + " of " + order.vm + " is not cleaned up at " +
                            order.to + " yet",
                        "wait, or choose another host");
    }
    // What is known of the past has to be on the disk before anything new is.
    for (const auto& [id, move] : moves_)
        if (Status saved = move->save(); !saved)
            return pass(saved);
    MoveRecord record;
    record.id = make_id_();
    record.vm = std::move(order.vm);
    record.from = std::move(order.from);
    record.to = std::move(order.to);
    record.definition = std::move(order.definition);
    record.policy = std::move(order.policy);
    record.why = std::move(order.why);
    record.wish = std::move(order.wish);
    record.cost = order.cost;
    record.created = record.changed = time_.wall();
    if (Status added = around_.log.add(record); !added)
        return pass(added);
    const std::string id = record.id;
    moves_[id] = std::make_unique<Move>(std::move(record), around_);
    on_changed(moves_[id]->record());
    return id;
}

Status Mover::cancel(const std::string& id)
{
    const auto move = moves_.find(id);
    if (move == moves_.end())
        return fail(ErrorKind::Invalid, "no migration " + id + " is under way");
    return move->second->cancel();
}

void Mover::tick()
{
    std::vector<std::string> ids; // what is called may begin others
    ids.reserve(moves_.size());
    for (const auto& [id, move] : moves_)
        ids.push_back(id);
    for (const std::string& id : ids)
        if (const auto move = moves_.find(id); move != moves_.end())
            move->second->tick();
    std::erase_if(moves_, [](const auto& entry) { return entry.second->is_over(); });
    std::erase_if(outcomes_, [this](const auto& entry) { return !moves_.contains(entry.first); });
}

void Mover::host_changed(const std::string& host)
{
    for (const auto& [id, move] : moves_)
        if (move->record().from == host || move->record().to == host)
            move->hurry();
}

std::vector<const Move*> Mover::moves() const
{
    std::vector<const Move*> all;
    all.reserve(moves_.size());
    for (const auto& [id, move] : moves_)
        all.push_back(move.get());
    return all;
}

const Move* Mover::find(const std::string& id) const
{
    const auto move = moves_.find(id);
    return move == moves_.end() ? nullptr : move->second.get();
}

const Move* Mover::of_vm(const std::string& vm) const
{
    for (const auto& [id, move] : moves_)
        if (move->record().vm == vm && holds_vm(move->record().state))
            return move.get();
    return nullptr;
}

std::vector<MoveRecord> Mover::records() const
{
    std::vector<MoveRecord> records;
    records.reserve(moves_.size());
    for (const auto& [id, move] : moves_)
        records.push_back(move->record());
    return records;
}

void Mover::ended(const MoveRecord& record, double now)
{
    if (record.outcome == "completed") {
        vm_pauses_.went_well(record.vm);
        host_pauses_.went_well(record.to);
    } else if (record.outcome == "failed") {
        vm_pauses_.failed(record.vm, now);
        // Before it had a URI the target alone was to blame, or could not be reached.
        if (record.uri.empty())
            host_pauses_.failed(record.to, now);
    }
}

void Mover::on_changed(const MoveRecord& record)
{
    // As soon as it is decided; cleaning up may take long.
    if (!record.outcome.empty() &&
        std::exchange(outcomes_[record.id], record.outcome) != record.outcome)
        ended(record, time_.now());
    changed_(record);
}

} // namespace drover::balancer::cluster
