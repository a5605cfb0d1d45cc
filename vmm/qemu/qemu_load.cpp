// SPDX-License-Identifier: GPL-2.0-or-later
//
// The destination's half of driving QEMU: it is fed the device state and left paused. Its disks are
// activated (and locked) only when the guest is taken over, so that until then the source can go
// on.
#include "vmm/qemu/qemu_machine.h"

#include "util/log.h"
#include "vmm/qemu/capabilities.h"
#include "vmm/qemu/qmp_sequence.h"
#include "vmm/qemu/tracker/process_ram.h"
#include "vmm/qemu/tracker/userfault_hold.h"

#include <cerrno>
#include <cstdio>
#include <sys/socket.h>

namespace drover::qemu {

namespace {
constexpr size_t long_load_queue = 16U << 20;
}

bool QemuMachine::has_exit_on_error() const
{
    unsigned major = 0;
    unsigned minor = 0;
    if (sscanf(config_.version.c_str(), "%u.%u", &major, &minor) != 2)
        return false;
    return major > 9 || (major == 9 && minor >= 1);
}

void QemuMachine::begin_load(std::function<void(Status)> ready, std::function<void(Error)> failed)
{
    load_failed_ = std::move(failed);
    collected_.clear();
    loaded_ = nullptr; // this and the others may be of a source that is gone
    load_prepared_ = nullptr;
    if (form_ == StateForm::Own) { // of what was learnt ahead nothing is needed
        blank_.reset();
        form_to_load_.reset();
    } else if (Status begun = begin_to_learn_layout(); !begun) {
        return loop::post([ready = std::move(ready), begun] { ready(begun); });
    }
    begin_feeding(std::move(ready));
}

void QemuMachine::begin_feeding(std::function<void(Status)> ready)
{
    auto pair = socket_pair();
    if (!pair)
        return loop::post(
            [ready = std::move(ready), error = pair.error()] { ready(std::unexpected(error)); });
    load_fd_ = std::move(pair->first);
    (void)set_nonblocking(load_fd_.get(), true);
    load_phase_ = LoadPhase::Feeding;

    std::vector<QmpStep> steps;
    steps.push_back({"migrate-set-capabilities",
                     capabilities({"x-ignore-shared", "events", "late-block-activate"}, true)});
    QmpStep getfd{"getfd", Json{{"fdname", "drover-load"}}};
    getfd.fds.push_back(std::move(pair->second));
    steps.push_back(std::move(getfd));
    Json incoming{{"uri", "fd:drover-load"}};
    if (!exits_on_error_)
        incoming["exit-on-error"] = false;
    steps.push_back({"migrate-incoming", std::move(incoming)});
    run_sequence(
        qmp_, std::move(steps), [alive = alive_] { return *alive; },
        [alive = alive_, ready = std::move(ready)](Result<std::vector<Json>> answers) {
            if (*alive)
                ready(answers ? Status() : pass(answers));
        });
}

void QemuMachine::load(std::span<const std::byte> piece)
{
    if (form_ == StateForm::Neutral && load_phase_ == LoadPhase::Feeding)
        return collect(piece);
    if (load_written_ == load_queue_.size()) {
        load_queue_.clear();
        load_written_ = 0;
    }
    load_queue_.insert(load_queue_.end(), piece.begin(), piece.end());
    flush_load();
}

bool QemuMachine::load_is_behind(std::function<void()> caught_up)
{
    if (load_queue_.size() - load_written_ < long_load_queue)
        return false;
    load_caught_up_ = std::move(caught_up);
    return true;
}

void QemuMachine::flush_load()
{
    while (load_written_ < load_queue_.size()) {
        const ssize_t n = send(load_fd_.get(), load_queue_.data() + load_written_,
                               load_queue_.size() - load_written_, MSG_NOSIGNAL);
        if (n >= 0) {
            load_written_ += static_cast<size_t>(n);
        } else if (errno == EAGAIN) {
            if (!load_watch_)
                load_watch_ =
                    loop::watch(load_fd_.get(), G_IO_OUT, [this](GIOCondition) { flush_load(); });
            return;
        } else if (errno != EINTR) {
            // QEMU gave up reading; its event, or its death, says why.
            load_written_ = load_queue_.size();
        }
    }
    load_watch_.reset();
    if (auto caught_up = std::exchange(load_caught_up_, nullptr))
        loop::post(std::move(caught_up));
    if (load_phase_ == LoadPhase::Finishing)
        shutdown(load_fd_.get(), SHUT_WR);
}

void QemuMachine::finish_load(std::function<void(Status)> loaded)
{
    loaded_ = std::move(loaded);
    if (form_ == StateForm::Own)
        finish_feeding();
    else if (form_to_load_)
        translate_what_was_loaded(); // or as soon as the form is learnt
}

void QemuMachine::finish_feeding()
{
    load_phase_ = LoadPhase::Finishing;
    flush_load();
    if (loaded_early_)
        loop::post([this, alive = alive_] {
            if (*alive)
                loading_event("completed");
        });
}

void QemuMachine::loading_event(const std::string& status)
{
    // QEMU knows the end of its stream by itself, and is often there before the source has said
    // that this was all: the guest would stand still until the source gave up, if this were
    // forgotten.
    if (status == "completed" && load_phase_ == LoadPhase::Feeding) {
        loaded_early_ = true;
    } else if (status == "completed" && load_phase_ == LoadPhase::Finishing) {
        load_phase_ = LoadPhase::Loaded;
        load_watch_.reset();
        load_fd_.reset();
        if (loaded_)
            std::exchange(loaded_, nullptr)(Status());
    } else if (status == "failed") {
        load_failed({ErrorKind::Machine, "QEMU could not load the device state",
                     "QEMU's own words are above"});
    }
}

void QemuMachine::load_failed(Error error)
{
    if (load_phase_ == LoadPhase::Loaded)
        return; // then it is the guest's owner who is told of QEMU's death
    load_phase_ = LoadPhase::Idle;
    if (loaded_)
        std::exchange(loaded_, nullptr)(std::unexpected(error));
    if (load_failed_)
        std::exchange(load_failed_, nullptr)(std::move(error));
}

/// "cont" failed. Only a QEMU that lives and says that the guest stands still is a sure "no": one
/// that died on the way may have run it for a moment. A guest that powered off or broke down just
/// before the pause has arrived as what it is.
void QemuMachine::confirm_not_run(Error error, const std::function<void(Status)>& done)
{
    qmp_.execute(
        "query-status", Json::object(),
        [this, alive = alive_, error = std::move(error), done](const Result<Json>& state) mutable {
            if (!*alive)
                return;
            const bool stands = state && !json_bool(*state, "running", true);
            const std::string status = stands ? json_string(*state, "status") : "";
            if (status == "shutdown" || status == "internal-error")
                return activate_disks(done);
            done(stands ? Status(std::unexpected(std::move(error))) : Status());
        });
}

std::unique_ptr<RamMapping> QemuMachine::ram_mapping()
{
    if (died_) // its number may be another process's by now
        return nullptr;
    auto blocks = mappings();
    auto mapped = blocks ? map_process_ram(config_.pid, *blocks) : pass(blocks);
    if (mapped)
        return std::move(*mapped);
    log::debug("guest RAM is written by its files: " + mapped.error().text());
    return nullptr;
}

Result<PageHold*> QemuMachine::page_hold()
{
    if (!page_hold_) {
        auto blocks = mappings();
        if (!blocks)
            return pass(blocks);
        auto made = make_userfault_hold(config_.pid, config_.ram, *blocks);
        if (!made)
            return pass(made);
        page_hold_ = std::move(*made);
    }
    return page_hold_.get();
}

/// QEMU carries out "stop" when no vCPU waits for a page any more; "cont" follows it in order.
void QemuMachine::stand_still(bool still)
{
    wants_still_ = still;
    if (!still) {
        if (std::exchange(stands_still_, false))
            qmp_.execute("cont", Json::object(), [](const Result<Json>& answer) {
                if (!answer)
                    log::error("the guest could not be resumed: " + answer.error().text());
            });
        return;
    }
    // A guest that its user has paused is not to be resumed by us.
    qmp_.execute("query-status", Json::object(), [this, alive = alive_](const Result<Json>& state) {
        if (!*alive || !wants_still_ || !state || !json_bool(*state, "running"))
            return;
        stands_still_ = true;
        qmp_.execute("stop", Json::object(), [](const Result<Json>&) {});
    });
}

/// Capabilities go off first: what the user does next (a snapshot) must not meet them.
void QemuMachine::take_over(bool run, std::function<void(Status)> done)
{
    load_failed_ = nullptr;
    qmp_.execute("migrate-set-capabilities",
                 capabilities({"x-ignore-shared", "late-block-activate"}, false),
                 [](const Result<Json>&) {});
    if (!run || config_.start_paused) {
        if (activates_late_)
            return loop::post([done = std::move(done)] { done({}); });
        return activate_disks(std::move(done));
    }
    qmp_.execute("cont", Json::object(),
                 [this, alive = alive_, done = std::move(done)](Result<Json> answer) {
                     if (!*alive)
                         return;
                     if (!answer)
                         return confirm_not_run(std::move(answer.error()), done);
                     qmp_.execute("announce-self", announce_parameters(),
                                  [](const Result<Json>&) {});
                     done({});
                 });
}

} // namespace drover::qemu
