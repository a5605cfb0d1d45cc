// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace drover::qemu {

/// What the write governor may do to a guest.
struct GovernorLimits {
    double writes_s = 0; ///< first writes to clean pages that are permitted, pages/s
    double most = 0;     ///< of the vCPUs' time may be spent waiting for that; 1: all
};

/// The write governor's reckoning: how many writes are permitted by now, and how long the guest may
/// be kept waiting. Pure: it is told how time goes by.
class WriteBudget {
public:
    explicit WriteBudget(unsigned vcpus) : vcpus_(vcpus) {}
    void set(const GovernorLimits& limits);

    /// So much time went by, in which so many vCPUs waited.
    void advance(double seconds, unsigned waiting);
    /// A vCPU's write was answered.
    void charge_write();
    /// All vCPUs stood still.
    void charge_standstill(double seconds);

    [[nodiscard]] bool permits_write() const { return writes_ >= 1; }
    /// Until it does; infinity if that is never.
    [[nodiscard]] double seconds_to_write() const;
    [[nodiscard]] bool permits_waiting() const;
    /// Until it does no more, if so many wait; infinity if that is never.
    [[nodiscard]] double seconds_of_waiting(unsigned waiting) const;

    /// The faults alone, answered at once, cost the guest more than is permitted.
    [[nodiscard]] bool overdrawn() const;

private:
    double vcpus_;
    GovernorLimits limits_;
    double writes_ = 0;    ///< permitted now; less than 0: owed
    double waiting_s_ = 0; ///< permitted now, vCPU seconds; less than 0: owed
};

} // namespace drover::qemu
