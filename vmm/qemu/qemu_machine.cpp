// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/qemu_machine.h"

#include "util/log.h"
#include "vmm/qemu/qmp_sequence.h"
#include "vmm/qemu/tracker/choose.h"

namespace drover::qemu {

QemuMachine::QemuMachine(QmpClient& qmp, QemuMachineConfig config)
    : qmp_(qmp), config_(std::move(config))
{
}

QemuMachine::~QemuMachine()
{
    *alive_ = false;
}

/// Where the library said that guest RAM is; asked for once.
Result<std::span<const BlockMapping>> QemuMachine::mappings()
{
    if (mappings_.empty()) {
        auto received = receive_mappings(config_.tracker_socket.get());
        if (!received)
            return pass(received);
        auto placed = place_blocks(config_.ram, std::move(*received));
        if (!placed)
            return pass(placed);
        mappings_ = std::move(*placed);
    }
    return mappings_;
}

Result<DirtyTracker*> QemuMachine::tracker()
{
    if (died_) // its number may be another process's by now
        return std::unexpected(*died_);
    if (!tracker_) {
        auto blocks = mappings();
        if (!blocks)
            return pass(blocks);
        auto chosen = choose_tracker(config_.pid, *blocks);
        if (!chosen)
            return pass(chosen);
        tracker_ = std::move(*chosen);
    }
    // Devices come and go: each time anew.
    if (Status can = tracker_->can_start(); !can)
        return pass(can);
    return tracker_.get();
}

Status QemuMachine::can_slow()
{
    if (brake_)
        return {};
    if (!no_brake_) {
        auto tracked = tracker(); // where there is none, nobody migrates anyway
        auto made = GuestBrake::create({.process = config_.pid,
                                        .vcpus = vcpu_threads_,
                                        .tracker = tracked ? *tracked : nullptr,
                                        .blocks = mappings_});
        if (made) {
            brake_ = std::move(*made);
            return {};
        }
        no_brake_ = std::move(made.error());
        log::warning("the guest cannot be slowed down here: " + no_brake_->text());
    }
    return std::unexpected(*no_brake_);
}

void QemuMachine::observe()
{
    if (can_slow())
        brake_->observe();
}

Status QemuMachine::slow_down(const SlowDown& wish)
{
    if (wish.part <= 0) {
        if (brake_)
            brake_->release(save_phase_ == SavePhase::Paused || save_phase_ == SavePhase::Saved);
        return {};
    }
    if (Status can = can_slow(); !can)
        return can;
    Status slowed = brake_->slow_down(wish);
    if (!slowed) {
        log::warning("the guest could not be slowed down: " + slowed.error().text());
        no_brake_ = slowed.error();
        brake_.reset();
    }
    return slowed;
}

std::string_view QemuMachine::slowed_by() const
{
    return brake_ ? brake_->way() : std::string_view();
}

void QemuMachine::handle_event(const Json& event)
{
    if (json_string(event, "event") != "MIGRATION")
        return run_state_event(event);
    const auto data = event.find("data");
    if (data == event.end())
        return;
    const std::string status = json_string(*data, "status");
    if (save_phase_ != SavePhase::Idle)
        saving_event(status);
    else if (load_phase_ != LoadPhase::Idle)
        loading_event(status);
}

void QemuMachine::process_died(const Error& how)
{
    died_ = how;
    if (save_phase_ == SavePhase::Settling)
        settled(std::unexpected(how));
    else if (save_phase_ != SavePhase::Idle)
        save_failed(how);
    if (load_phase_ != LoadPhase::Idle)
        load_failed(how);
}

} // namespace drover::qemu
