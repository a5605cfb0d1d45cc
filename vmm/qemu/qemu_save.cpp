// SPDX-License-Identifier: GPL-2.0-or-later
//
// The source's half of driving QEMU: its own migration, with shared RAM left out, gives us the
// device state, and its pause-before-switchover the moment for the last round.
#include "vmm/qemu/qemu_machine.h"

#include "vmm/qemu/capabilities.h"
#include "vmm/qemu/qmp_sequence.h"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace drover::qemu {

namespace {

/// What QEMU's own stream carries (device state, ROM, video memory) is not what max-bandwidth is
/// for.
constexpr uint64_t unlimited_bandwidth = 1ULL << 40;

/// QEMU pauses the guest when what it has left itself (video memory, private RAM) takes no longer
/// than its downtime-limit, at the speed of a local socket: much more, then, over the link. So it
/// is given a tight limit; but a guest that draws all the time must not keep it from pausing for
/// ever.
constexpr uint64_t tight_limit_ms = 10;
constexpr uint64_t usual_limit_ms = 300;
constexpr std::chrono::milliseconds tight_limit_time{1'000};

} // namespace

void QemuMachine::begin_save(SaveCallbacks callbacks)
{
    save_ = std::move(callbacks);
    save_phase_ = SavePhase::Starting;
    save_issued_ = false;
    save_held_ = false;
    collected_.clear();
    stops_itself_ = false;
    save_fd_.reset();
    if (run_states_asked_ == 0)
        start_saving();
}

void QemuMachine::run_state_answered()
{
    if (--run_states_asked_ == 0 && save_phase_ == SavePhase::Starting && !save_fd_)
        start_saving();
}

void QemuMachine::start_saving()
{
    auto pair = socket_pair();
    if (!pair)
        return save_failed(pair.error());
    save_fd_ = std::move(pair->first);
    (void)set_nonblocking(save_fd_.get(), true);
    watch_save();

    std::vector<QmpStep> steps;
    steps.push_back({"migrate-set-capabilities",
                     capabilities({"x-ignore-shared", "events", "pause-before-switchover"}, true)});
    steps.push_back({"migrate-set-parameters", Json{{"max-bandwidth", unlimited_bandwidth},
                                                    {"downtime-limit", tight_limit_ms}}});
    QmpStep getfd{"getfd", Json{{"fdname", "drover-save"}}};
    getfd.fds.push_back(std::move(pair->second));
    steps.push_back(std::move(getfd));
    steps.push_back({"query-status"}); // the last: the less time for it to change
    run_sequence(
        qmp_, std::move(steps),
        [this, alive = alive_] { return *alive && save_phase_ == SavePhase::Starting; },
        [this, alive = alive_](Result<std::vector<Json>> answers) {
            if (!*alive || save_phase_ != SavePhase::Starting)
                return;
            if (!answers)
                return save_failed(std::move(answers.error()));
            save_prepared(answers->back());
        });
}

/// A guest that stands still is not saved before it has to be: QEMU 7.2 cannot move it again once
/// it has begun (its run state is "postmigrate" from then on, whatever becomes of the migration).
void QemuMachine::save_prepared(const Json& state)
{
    ran_ = json_bool(state, "running");
    if (Status may = may_be_saved(state); !may) // it fell asleep while its RAM was copied
        return save_failed(may.error());
    if (ran_) {
        save_phase_ = SavePhase::Active;
        save_patience_ = loop::after(tight_limit_time, [this] {
            if (save_phase_ == SavePhase::Active)
                qmp_.execute("migrate-set-parameters", Json{{"downtime-limit", usual_limit_ms}},
                             [](const Result<Json>&) {});
        });
        return issue_save();
    }
    save_phase_ = SavePhase::Paused;
    save_.paused(false);
}

void QemuMachine::issue_save()
{
    save_issued_ = true;
    qmp_.execute("migrate", Json{{"uri", "fd:drover-save"}},
                 [this, alive = alive_](Result<Json> answer) {
                     if (*alive && !answer)
                         save_failed(std::move(answer.error()));
                 });
}

/// Whether the guest runs is certain only at the pause: until then it may stop by itself (an I/O
/// error, a panic, a power-off), and must not be run at the destination then. QEMU tells the cause
/// before the STOP; a STOP without one is the migration's own.
void QemuMachine::run_state_event(const Json& event)
{
    const std::string name = json_string(event, "event");
    const bool stands_still = save_phase_ == SavePhase::Paused || save_phase_ == SavePhase::Saved;
    if (stands_still && !ran_ && name == "RESUME") // by a debugger, say
        return save_failed({ErrorKind::Machine,
                            "the guest, which stood still, was run while it was being saved",
                            "migrate it again"});
    if (save_phase_ != SavePhase::Starting && save_phase_ != SavePhase::Active)
        return;
    const std::string action = json_string(event.value("data", Json::object()), "action");
    if (name == "SHUTDOWN" || (name == "BLOCK_IO_ERROR" && action == "stop") ||
        ((name == "GUEST_PANICKED" || name == "WATCHDOG") && action == "pause"))
        stops_itself_ = true;
    else if (name == "STOP" && std::exchange(stops_itself_, false))
        ran_ = false;
    else if (name == "RESUME")
        ran_ = true;
    else if (name == "SUSPEND" && save_phase_ == SavePhase::Active)
        save_failed(may_be_saved(Json{{"status", "suspended"}}).error());
}

void QemuMachine::watch_save()
{
    save_watch_ = loop::watch(save_fd_.get(), G_IO_IN, [this](GIOCondition) {
        if (!read_save())
            save_watch_.reset(); // QEMU closed its end, or failed; its event says which
    });
}

/// Hands on what has arrived. False at the stream's end.
bool QemuMachine::read_save()
{
    static std::array<std::byte, 256 << 10> buffer; // loop thread only
    for (;;) {
        const ssize_t n = read(save_fd_.get(), buffer.data(), buffer.size());
        const auto piece = std::span(buffer).first(n > 0 ? static_cast<size_t>(n) : 0);
        if (n > 0 && form_ == StateForm::Neutral)
            collect(piece);
        else if (n > 0)
            save_.data(piece);
        else if (n < 0 && errno == EINTR)
            continue;
        else
            return n < 0 && errno == EAGAIN;
        if (save_held_)
            return true;
    }
}

void QemuMachine::hold_data(bool hold)
{
    if (save_held_ == hold || !save_fd_)
        return;
    save_held_ = hold;
    if (hold)
        save_watch_.reset();
    else
        watch_save();
}

void QemuMachine::saving_event(const std::string& status)
{
    if (save_phase_ == SavePhase::Settling)
        return settle();
    if (status == "pre-switchover" && save_phase_ == SavePhase::Active) {
        save_phase_ = SavePhase::Paused;
        save_.paused(ran_);
    } else if (status == "completed" && save_phase_ == SavePhase::Paused) {
        // QEMU has flushed its stream before it says so: it is all in the socket.
        save_held_ = false;
        (void)read_save();
        save_watch_.reset();
        save_phase_ = SavePhase::Saved;
        leave_no_capabilities();
        if (Status handed = hand_on_neutral(); !handed)
            return save_failed(std::move(handed.error()));
        save_.saved();
    } else if (status == "failed" || status == "cancelled") {
        qmp_.execute("query-migrate", Json::object(), [this, alive = alive_](Result<Json> info) {
            if (!*alive)
                return;
            std::string why = info ? json_string(*info, "error-desc") : "";
            save_failed({ErrorKind::Machine,
                         "QEMU could not save its devices" + (why.empty() ? "" : ": " + why), ""});
        });
    }
}

void QemuMachine::save_failed(Error error)
{
    if (save_phase_ == SavePhase::Settling || save_phase_ == SavePhase::Idle)
        return;
    loop::post([this, alive = alive_, error = std::move(error)]() mutable {
        if (*alive && save_.failed)
            std::exchange(save_.failed, nullptr)(std::move(error));
    });
}

void QemuMachine::finish_save()
{
    if (!save_issued_) {
        qmp_.execute("migrate-set-capabilities", capabilities({"pause-before-switchover"}, false),
                     [](const Result<Json>&) {});
        return issue_save();
    }
    qmp_.execute("migrate-continue", Json{{"state", "pre-switchover"}},
                 [this, alive = alive_](Result<Json> answer) {
                     if (*alive && !answer)
                         save_failed(std::move(answer.error()));
                 });
}

void QemuMachine::leave_no_capabilities()
{
    qmp_.execute("migrate-set-capabilities",
                 capabilities({"x-ignore-shared", "pause-before-switchover"}, false),
                 [](const Result<Json>&) {});
}

} // namespace drover::qemu
