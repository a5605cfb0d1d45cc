// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/move.h"

#include "migration/transport/address.h"
#include "util/log.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

/// What a former run prepared for a younger plan than this is still wanted.
constexpr double still_wanted_s = 60;
constexpr int doubtful_answers = 3; // in a row, before the source counts as silent

std::string why_silent(const HostDoor::Answer& answer)
{
    return answer ? std::string("its answer makes no sense") : answer.error().text;
}

} // namespace

Move::Move(MoveRecord record, const Surroundings& around)
    : record_(std::move(record)), around_(around), due_(around.time.now()),
      began_(around.time.now()), reached_(around.time.now())
{
}

std::unique_ptr<Move> Move::recovered(MoveRecord record, const Surroundings& around)
{
    auto move = std::make_unique<Move>(std::move(record), around);
    const double age = around.time.wall() - move->record_.created;
    const bool wanted = age >= 0 && age < still_wanted_s;
    switch (move->record_.state) {
    case MoveState::Planned:
        move->finish(MoveEvent::GiveUp, {}, "the balancer was restarted before it began");
        break;
    case MoveState::Preparing:
        if (!wanted)
            move->finish(MoveEvent::GiveUp, {}, "the balancer was restarted while it was prepared");
        break;
    case MoveState::Starting:
    case MoveState::Watching: move->step(MoveEvent::Lost, "the balancer was restarted"); break;
    default: break;
    }
    return move;
}

void Move::tick()
{
    const double now = around_.time.now();
    if (!saved_ && now >= due_ && !save() && record_.state == MoveState::Closed)
        due_ = now + around_.patience.first_retry;
    if (outstanding_ > 0) {
        if (now < give_up_at_)
            return;
        ++round_;
        outstanding_ = 0;
        if (record_.state == MoveState::Unknown)
            return conclude_inquiry(); // with what came
        const HostDoor::Answer late =
            std::unexpected(DoorError{DoorError::Kind::Lost, {}, "it did not answer in time"});
        switch (record_.state) {
        case MoveState::Preparing: on_prepared(late); break;
        case MoveState::Starting: on_started(late); break;
        case MoveState::Watching: on_watched(late); break;
        case MoveState::Completed:
            guest_ran_ = guest_ran_.value_or(true); // nearly all do
            again("a host does not answer");
            break;
        default: again("a host does not answer"); break;
        }
        return;
    }
    if (now >= due_)
        act();
}

void Move::hurry()
{
    if (outstanding_ == 0)
        due_ = std::min(due_, around_.time.now());
}

void Move::act()
{
    switch (record_.state) {
    case MoveState::Planned:
        if (record_.cancel)
            return finish(MoveEvent::GiveUp, {}, "it was cancelled");
        if (around_.time.now() - began_ > around_.patience.reach)
            return finish(MoveEvent::GiveUp, {}, "it could not be begun in time: " + waits_for_);
        if (step(MoveEvent::Begin, {}))
            prepare();
        break;
    case MoveState::Preparing: prepare(); break;
    case MoveState::Starting: start(); break;
    case MoveState::Watching: watch(); break;
    case MoveState::Unknown: inquire(); break;
    case MoveState::Completed: confirm(); break;
    case MoveState::Failed: abandon(); break;
    case MoveState::Closed: break;
    }
}

void Move::prepare()
{
    if (record_.cancel)
        return finish(MoveEvent::GiveUp, {}, "it was cancelled");
    const double now = around_.time.now();
    if (is_up(record_.to))
        reached_ = now;
    if (now - reached_ > around_.patience.reach || now - began_ > around_.patience.prepare)
        return finish(MoveEvent::GiveUp, {},
                      record_.to + " did not make ready in time: " +
                          (waits_for_.empty() ? "no answer" : waits_for_));
    Json arguments = {
        {"migration", record_.id}, {"definition", record_.definition}, {"owner", around_.owner}};
    if (is_stock_qemu())
        arguments.update(Json{{"confirms", true}, {"source-host", record_.from}});
    if (!ask(record_.to, "vm-prepare", std::move(arguments),
             [this](const HostDoor::Answer& answer) { on_prepared(answer); }))
        again(record_.to + " cannot be reached");
}

void Move::on_prepared(const HostDoor::Answer& answer)
{
    if (!answer && answer.error().kind == DoorError::Kind::Refused)
        return finish(MoveEvent::GiveUp, {}, record_.to + " refused: " + answer.error().text);
    const std::string uri = answer && answer->is_object() ? json_string(*answer, "uri") : "";
    const auto address = MigrationAddress::parse(uri); // QEMU would take "exec:…", too
    if (!address || address->kind != MigrationAddress::Kind::Tcp)
        return again(record_.to + " makes ready: " + why_silent(answer));
    if (record_.cancel)
        return finish(MoveEvent::GiveUp, {}, "it was cancelled");
    record_.uri = uri;
    record_.tls_hostname = json_string(*answer, "tls-hostname");
    if (step(MoveEvent::Prepared, uri))
        start();
}

void Move::start()
{
    Json arguments = {{"migration", record_.id},
                      {"name", record_.vm},
                      {"uri", record_.uri},
                      {"owner", around_.owner}};
    if (!record_.policy.empty())
        arguments["policy"] = record_.policy;
    if (!record_.tls_hostname.empty())
        arguments["tls-hostname"] = record_.tls_hostname;
    if (!ask(record_.from, "vm-migrate", std::move(arguments),
             [this](const HostDoor::Answer& answer) { on_started(answer); }))
        step(MoveEvent::Lost, record_.from + " cannot be reached");
}

void Move::on_started(const HostDoor::Answer& answer)
{
    if (answer) {
        step(MoveEvent::Started, {});
        return;
    }
    // A refusal proves nothing yet: an earlier try may have been taken.
    refusal_ = record_.from + ": " + answer.error().text;
    step(MoveEvent::Lost, refusal_);
}

void Move::watch()
{
    if (record_.cancel)
        tell_cancel();
    if (!ask(record_.from, "query-vm-migration", only_id(),
             [this](const HostDoor::Answer& answer) { on_watched(answer); }))
        step(MoveEvent::Lost, record_.from + " cannot be reached");
}

void Move::on_watched(const HostDoor::Answer& answer)
{
    const Word word = read_word(answer, record_.id, record_.vm, "source");
    if (word.kind != Word::Kind::Says) {
        if (word.kind == Word::Kind::Never || ++failures_ >= doubtful_answers)
            step(MoveEvent::Lost, record_.from + ": " + word.complaint);
        else
            due_ = around_.time.now() + around_.patience.watch;
        return;
    }
    failures_ = 0;
    latest_ = word;
    const auto event = conclude(word, {}, Presence::Unsure);
    if (!event) { // it says that it failed, and that the guest is not there
        step(MoveEvent::Lost, record_.from + ": " + word.error);
        return;
    }
    if (event != MoveEvent::Runs)
        return finish(*event, word, word.error);
    waits_for_ = word.status == "asking"
                     ? "the link broke at the hand-over; the source asks the target"
                     : "";
    due_ = around_.time.now() + around_.patience.watch;
    around_.changed(record_);
}

/// Both are asked at the same time; what is missing when the time is over counts as silence.
void Move::inquire()
{
    inquiry_ = {};
    // An operator's word, where nobody is left to be asked.
    const bool source_is_gone = record_.cancel && around_.find_door(record_.from) == nullptr;
    if (source_is_gone && !is_stock_qemu())
        return finish(MoveEvent::Stayed, {},
                      record_.from + " is not configured any more, and it was cancelled");
    if (source_is_gone) {
        inquiry_.source.kind = Word::Kind::Never;
        inquiry_.at_source = Presence::Absent;
    } else if (record_.cancel) {
        tell_cancel();
    }
    // Who takes the target out of the configuration says that it will never be asked again.
    if (record_.cancel && around_.find_door(record_.to) == nullptr)
        inquiry_.target.kind = Word::Kind::Never;
    bool asked =
        ask(record_.from, "query-vm-migration", only_id(), [this](const HostDoor::Answer& answer) {
            inquiry_.source = read_word(answer, record_.id, record_.vm, "source");
        });
    asked |= ask(record_.from, "query-vms", Json::object(), [this](const HostDoor::Answer& answer) {
        inquiry_.at_source = read_presence(answer, record_.vm);
    });
    asked |=
        ask(record_.to, "query-vm-migration", only_id(), [this](const HostDoor::Answer& answer) {
            inquiry_.target = read_word(answer, record_.id, record_.vm, "destination");
        });
    if (!asked)
        again("neither " + record_.from + " nor " + record_.to + " can be reached");
}

void Move::conclude_inquiry()
{
    const auto [source, target, at_source] = std::exchange(inquiry_, {});
    if (source.kind == Word::Kind::Says)
        latest_ = source;
    else if (target.kind == Word::Kind::Says)
        latest_ = target;
    const auto event = conclude(source, target, at_source);
    // To take the source out of the configuration says nothing of its guest, which may run: only
    // the operator's vm-confirm does.
    const bool holds = target.says("asking") && target.held;
    if (event == MoveEvent::Runs) {
        failures_ = 0;
        step(MoveEvent::Runs, "the source says: " + source.status);
    } else if (event) {
        const Word& word = source.kind == Word::Kind::Says ? source : target;
        std::string error = !source.error.empty() ? source.error : refusal_;
        if (error.empty())
            error = "the source never began it";
        finish(*event, word, error);
    } else if (source.kind != Word::Kind::Says && holds) {
        again(record_.to + " holds the guest, and " + record_.from +
              " does not say whether it went. If that host runs it no more for certain: vm-confirm "
              "to the droverd of " +
              record_.to);
    } else if (source.kind == Word::Kind::Says) {
        again("the emulator on " + record_.from + " ended, and " + record_.to +
              " does not say whether the guest is there");
    } else if (source.kind == Word::Kind::Silent) {
        again(record_.from + " does not answer, and has the guest for all that is known");
    } else {
        again(record_.from + " knows nothing of it, and " + record_.to + " has not said that " +
              "it has the guest");
    }
}

/// In passing: the end is seen by watching.
void Move::tell_cancel()
{
    const double now = around_.time.now();
    HostDoor* door = around_.find_door(record_.from);
    if (now - cancel_told_ < around_.patience.answer || door == nullptr || !door->is_up())
        return;
    cancel_told_ = now;
    door->execute("vm-cancel", only_id(), [](const HostDoor::Answer&) {});
}

/// Stock QEMU's guest is held at its destination until we have its source's word. A run before
/// this one had it: then the source is asked whether the guest ran, and if it is silent, it did.
void Move::confirm()
{
    if (!is_stock_qemu() || around_.find_door(record_.to) == nullptr) {
        step(MoveEvent::Close, {});
        return;
    }
    if (!guest_ran_ && is_up(record_.from))
        return ask_whether_it_ran();
    if (!ask(record_.to, "vm-confirm",
             {{"migration", record_.id}, {"run", guest_ran_.value_or(true)}},
             [this](const HostDoor::Answer& answer) { on_confirmed(answer); }))
        again(record_.to + " cannot be reached, to let the guest run");
}

void Move::ask_whether_it_ran()
{
    ask(record_.from, "query-vm-migration", only_id(), [this](const HostDoor::Answer& answer) {
        guest_ran_ = read_word(answer, record_.id, record_.vm, "source").guest_ran;
        hurry();
    });
}

void Move::on_confirmed(const HostDoor::Answer& answer)
{
    if (answer || answer.error().never_heard()) {
        step(MoveEvent::Close, {});
        return;
    }
    again(record_.to + " does not let the guest run: " + answer.error().text);
    if (answer.error().kind != DoorError::Kind::Refused)
        return;
    if (answer.error().error_class == "CommandNotFound") { // an older droverd holds no guest
        step(MoveEvent::Close, {});
        return;
    }
    ask(record_.to, "query-vm-migration", only_id(), [this](const HostDoor::Answer& said) {
        const Word word = read_word(said, record_.id, record_.vm, "destination");
        if (!word.says("failed") && !word.says("cancelled"))
            return;
        log::error("migration " + record_.id + ": " + record_.vm + " was lost at " + record_.to +
                   " before it ran there: " + word.error);
        record_.outcome = "failed";
        record_.error = record_.to + ": " + word.error;
        step(MoveEvent::Close, record_.error);
    });
}

void Move::abandon()
{
    if (around_.find_door(record_.to) == nullptr) {
        step(MoveEvent::Abandoned, record_.to + " is not configured any more");
        return;
    }
    Json arguments = {{"migration", record_.id}, {"owner", around_.owner}};
    if (is_stock_qemu() && source_runs_it_)
        arguments["guest-at-source"] = true;
    if (!ask(record_.to, "vm-abandon", std::move(arguments),
             [this](const HostDoor::Answer& answer) { on_abandoned(answer); }))
        again(record_.to + " cannot be reached, to clean up there");
}

void Move::on_abandoned(const HostDoor::Answer& answer)
{
    if (answer || answer.error().never_heard()) {
        step(MoveEvent::Abandoned, {});
        return;
    }
    again(record_.to + " does not clean up: " + answer.error().text);
    if (answer.error().kind != DoorError::Kind::Refused)
        return;
    // It may have the guest after all, if the source took a command that was long under way.
    ask(record_.from, "query-vm-migration", only_id(), [this](const HostDoor::Answer& said) {
        const Word word = read_word(said, record_.id, record_.vm, "source");
        const bool stayed = word.says("failed") || word.says("cancelled");
        source_runs_it_ = stayed && word.guest_here;
        // Its emulator died at the very end, and runs nothing: the target's guest is the only one.
        if (word.says("completed") || (is_stock_qemu() && stayed && !word.guest_here))
            finish(MoveEvent::Moved, word, {});
    });
}

} // namespace drover::balancer::cluster
