// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "vmm/qemu/throttle/vcpu_throttle.h"
#include "vmm/qemu/throttle/write_governor.h"

#include <memory>
#include <optional>

namespace drover::qemu {

/// Slows a guest down in the mildest way that works here: by the write governor, else by the share
/// of the processor that its vCPUs get. The environment variable DROVER_SLOWDOWN (write-governor,
/// vcpu-share) insists on one. Loop thread only.
class GuestBrake {
public:
    /// What it is to know of the guest. The blocks must outlive the brake; so must the tracker, if
    /// there is one.
    struct Guest {
        pid_t process = -1;
        std::vector<pid_t> vcpus; ///< threads
        DirtyTracker* tracker = nullptr;
        std::span<const BlockMapping> blocks;
    };
    /// The error says why neither works.
    [[nodiscard]] static Result<std::unique_ptr<GuestBrake>> create(Guest guest);
    ~GuestBrake();

    /// From here on the guest's use of the processor is measured, at full speed.
    void observe();
    /// Where one cannot be slowed, it is fast again.
    [[nodiscard]] Status slow_down(const SlowDown& wish);
    /// Full speed. `paused`: the guest stands still, and is not to be bothered any more: what it
    /// would take to end its write faults is left to the tracker's end.
    void release(bool paused);

    /// "write-governor", "vcpu-share"; empty while the guest runs at full speed.
    [[nodiscard]] std::string_view way() const { return way_; }

private:
    explicit GuestBrake(Guest guest) : guest_(std::move(guest)) {}
    void choose_governor();
    void governor_gave_up(const Error& why);
    [[nodiscard]] Status share(double part);
    void conclude();

    Guest guest_;
    TimePoint observed_{};
    double ran_s_ = 0; ///< when the observation began
    double busy_ = 1;  ///< the part of the vCPUs' time in which they ran at full speed

    std::unique_ptr<WriteGovernor> governor_;
    std::unique_ptr<VcpuThrottle> throttle_;
    Status governor_works_; ///< else why it does not, or no longer, for this migration
    Status throttle_works_;
    SlowDown wish_;     ///< in force
    double shared_ = 0; ///< in force: the part by which the throttle slows
    std::string_view way_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::qemu
