// SPDX-License-Identifier: GPL-2.0-or-later
//
// How an emulator ends: QEMU by itself, or since it was told to; and then what is owed to a peer.
#include "system/emulator.h"
#include "util/log.h"

#include <csignal>
#include <fcntl.h>
#include <unistd.h>

namespace drover {

namespace {

/// Last words to a peer of a migration need a moment on the wire before we are gone.
constexpr std::chrono::milliseconds last_words_time{300};
constexpr std::chrono::milliseconds last_answers_time{300};
/// How long a destination stays that could not start the guest after the source's commit: only its
/// word lets a source whose link broke run the guest again.
constexpr std::chrono::minutes owed_answer_time{10};

} // namespace

void Emulator::pass_signal(int signal)
{
    if (stays_) // without a QEMU that would see to it
        end(*exit_code_);
    else if (process_)
        process_->kill(signal);
}

void Emulator::failed_to_start(const Error& error)
{
    log::error(error.text());
    exit_code_ = 1;
    process_->end_as_failed();
}

void Emulator::incoming_failed(const Error& error)
{
    log::error("the incoming migration failed; the guest never ran here: " + error.text());
    if (!control_->exits_on_error() && !control_->owes_an_answer())
        return; // its user asks query-migrate why
    exit_code_ = 1;
    // At once: who is told of the failure may send SIGTERM, which QEMU takes for a good end.
    if (!control_->owes_an_answer()) {
        telling_ = true;
        process_->end_as_failed();
        return;
    }
    log::warning("staying for 10 minutes, so that the source can learn that the guest is its");
    // Without QEMU, which may have locked some of the disks already: the source needs them now.
    stays_ = true;
    process_->end_as_failed();
    end_timer_ = loop::after(owed_answer_time, [this] { end(*exit_code_); });
}

/// Who waits for QEMU's process takes the guest for ended when it ends, and may kill what is left
/// of it: us, who serve its memory. QEMU paused is no burden.
void Emulator::quit_when_served()
{
    log::info("QEMU ends when the guest at its destination has all of its memory");
    quit_held_ = true;
}

void Emulator::served()
{
    if (process_->running()) {
        if (std::exchange(quit_held_, false))
            user_qmp_->execute("quit", Json::object(), [](const Result<Json>&) {});
    } else {
        end_timer_ = loop::after(last_words_time, [this] { end(*exit_code_); });
    }
}

/// Where nobody can know its exit status, QEMU's announcement has to do.
bool Emulator::ended_well(const std::optional<qemu::ExitStatus>& status) const
{
    return status ? status->success() : shuts_down_;
}

/// Whoever reads our standard files to their end, or wants a monitor's address again, does not have
/// to wait for us, who may have to stay.
void Emulator::let_go_of_qemus()
{
    server_.reset();
    monitors_.clear();
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        dup2(null.get(), fd);
}

void Emulator::process_exited(std::optional<qemu::ExitStatus> status, const std::string& last_words)
{
    std::string how = "QEMU " + (status ? status->text() : "has ended");
    if (!last_words.empty())
        how += "; its last words: " + last_words;
    while (how.ends_with('\n'))
        how.pop_back();
    if (!ended_well(status) && !exit_code_)
        log::error(how);
    const Error gone{ErrorKind::Machine, how, "the guest is gone with it"};
    if (control_ && control_->process_died(gone))
        telling_ = true;
    exit_code_ = exit_code_.value_or(ended_well(status) ? 0 : 1);
    const bool serving = control_ && control_->serves_pages();
    if (serving && !stays_)
        log::warning("QEMU has ended, and the guest at its destination still needs memory from "
                     "here: staying until it has it");
    callbacks_.gone();
    // What it said last on its monitor (an answer to "quit") is for its users: the monitor's end
    // comes behind that, if no child of QEMU's holds it open.
    leave_timer_ = loop::after(last_answers_time, [this] { leave(); });
    if (monitor_ended_)
        leave();
}

void Emulator::monitor_ended()
{
    monitor_ended_ = true;
    if (leave_timer_)
        leave();
}

void Emulator::leave()
{
    leave_timer_.reset();
    let_go_of_qemus();
    if (stays_ || (control_ && control_->serves_pages()))
        return;
    if (telling_)
        end_timer_ = loop::after(last_words_time, [this] { end(*exit_code_); });
    else
        end(*exit_code_);
}

void Emulator::end(int code)
{
    callbacks_.end(code);
}

} // namespace drover
