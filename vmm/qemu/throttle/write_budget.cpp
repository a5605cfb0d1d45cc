// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/write_budget.h"

#include <algorithm>
#include <limits>

namespace drover::qemu {

namespace {

/// What the guest did not write, or was let write too much, is made up for within these times.
constexpr double saved_writes_s = 0.005;
constexpr double owed_writes_s = 0.1;

/// In each stretch of 100 ms: what may be saved up, and what flows in, make the permitted part.
constexpr double window_s = 0.1;
constexpr double saved_part = 0.02;

/// A fault costs the guest that much even if it is answered at once: two changes of threads.
constexpr double fault_cost_s = 15e-6;
/// So much more than permitted, of each vCPU's time, is no accident.
constexpr double overdraft_s = 0.1;

constexpr double never = std::numeric_limits<double>::infinity();

} // namespace

void WriteBudget::set(const GovernorLimits& limits)
{
    limits_ = limits;
}

void WriteBudget::advance(double seconds, unsigned waiting)
{
    writes_ += limits_.writes_s * seconds;
    writes_ = std::min(writes_, std::max(1.0, limits_.writes_s * saved_writes_s));
    const double permitted = limits_.most * vcpus_;
    waiting_s_ += (permitted * (1 - saved_part) - waiting) * seconds;
    waiting_s_ = std::min(waiting_s_, permitted * saved_part * window_s);
}

void WriteBudget::charge_write()
{
    writes_ = std::max(writes_ - 1, -limits_.writes_s * owed_writes_s);
    waiting_s_ = std::max(waiting_s_ - fault_cost_s, -2 * overdraft_s * vcpus_);
}

/// It alone overdraws nothing: it may have taken long because QEMU was slow to stop.
void WriteBudget::charge_standstill(double seconds)
{
    const double least = std::min(waiting_s_, -overdraft_s * vcpus_ / 2);
    waiting_s_ = std::max(waiting_s_ - seconds * vcpus_, least);
}

double WriteBudget::seconds_to_write() const
{
    if (permits_write())
        return 0;
    return limits_.writes_s > 0 ? (1 - writes_) / limits_.writes_s : never;
}

double WriteBudget::seconds_of_waiting(unsigned waiting) const
{
    if (limits_.most >= 1)
        return never;
    const double used = waiting - limits_.most * vcpus_ * (1 - saved_part);
    return used > 0 ? std::max(0.0, waiting_s_ / used) : never;
}

bool WriteBudget::permits_waiting() const
{
    return limits_.most >= 1 || waiting_s_ > 0;
}

bool WriteBudget::overdrawn() const
{
    return limits_.most < 1 && waiting_s_ < -overdraft_s * vcpus_;
}

} // namespace drover::qemu
