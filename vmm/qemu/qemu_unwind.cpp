// SPDX-License-Identifier: GPL-2.0-or-later
//
// A save that was given up: QEMU's own migration ends, and the guest is where it was.
#include "vmm/qemu/capabilities.h"
#include "vmm/qemu/qemu_machine.h"

namespace drover::qemu {

namespace {

constexpr std::chrono::milliseconds settle_pause{2};
/// "cont" that fails for longer than this will not succeed by being repeated.
constexpr double patience_s = 1;
constexpr std::chrono::milliseconds settle_limit{10'000};

} // namespace

void QemuMachine::abandon_save(std::function<void(Status)> done)
{
    save_phase_ = SavePhase::Settling;
    settled_ = std::move(done);
    refused_since_.reset();
    save_watch_.reset();
    save_fd_.reset(); // a QEMU that is blocked in writing its stream fails at once
    if (died_)
        return settled(std::unexpected(*died_));
    if (!save_issued_)
        return settled({});
    settle_limit_ = loop::after(settle_limit, [this] {
        settled(drover::fail(ErrorKind::Machine, "QEMU did not end its own migration within 10 s",
                             "the guest stands still: cont runs it when QEMU lets it"));
    });
    qmp_.execute("migrate_cancel", Json::object(), [this, alive = alive_](const Result<Json>&) {
        if (*alive)
            settle();
    });
}

/// Brings the guest back to where it was: QEMU resumes it by itself after a failure or a cancel,
/// but not after its own migration has completed.
void QemuMachine::settle()
{
    qmp_.execute("query-migrate", Json::object(), [this, alive = alive_](Result<Json> info) {
        if (!*alive || !settled_)
            return;
        const std::string status = info ? json_string(*info, "status", "none") : "none";
        if (status == "completed" || status == "failed" || status == "cancelled" ||
            status == "none")
            settle_run_state();
        // else its next event calls again
    });
}

void QemuMachine::settle_run_state()
{
    if (!ran_)
        return settled({});
    qmp_.execute("query-status", Json::object(), [this, alive = alive_](Result<Json> state) {
        if (!*alive || !settled_)
            return;
        if (state && json_bool(*state, "running"))
            return settled({});
        // One that has powered off, broken down or fallen asleep is left as it is: it is not for us
        // to reset it, or to wake it up.
        const std::string status = state ? json_string(*state, "status") : "";
        if (status == "shutdown" || status == "internal-error" || status == "suspended")
            return settled({});
        resume_guest();
    });
}

/// "cont" is refused for a moment while QEMU's migration thread finishes, without an event at its
/// end: hence the short timer.
void QemuMachine::resume_guest()
{
    qmp_.execute("cont", Json::object(), [this, alive = alive_](const Result<Json>& answer) {
        if (!*alive || !settled_)
            return;
        if (!refused_since_)
            refused_since_ = Clock::now();
        if (seconds_since(*refused_since_) > patience_s)
            return cont_failed(answer ? Error{ErrorKind::Machine, "cont has no effect", ""}
                                      : answer.error());
        settle_timer_ = loop::after(settle_pause, [this] { settle_run_state(); });
    });
}

/// It is the user's from now on: whatever keeps QEMU from running it (somebody else's lock on a
/// disk, a dead file server) may last.
void QemuMachine::cont_failed(const Error& error)
{
    settled(drover::fail(ErrorKind::Machine,
                         "QEMU does not let the guest run again: " + error.message,
                         "it stands still here; cont runs it once the cause is gone"));
}

void QemuMachine::settled(Status status)
{
    settle_timer_.reset();
    settle_limit_.reset();
    if (!died_)
        leave_no_capabilities();
    // The destination may have announced the guest's address already: call the network back.
    if (status && ran_)
        qmp_.execute("announce-self", announce_parameters(), [](const Result<Json>&) {});
    save_phase_ = SavePhase::Idle;
    if (settled_)
        std::exchange(settled_, nullptr)(std::move(status));
}

} // namespace drover::qemu
