// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/write_budget.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

namespace drover::testing {
namespace {

using qemu::WriteBudget;

/// vCPUs that write all the time, answered as early as the budget permits. Counts what is written
/// and tells the longest stretch of waiting in any window.
struct Guest {
    explicit Guest(unsigned vcpus, qemu::GovernorLimits limits) : vcpus_(vcpus), budget(vcpus)
    {
        budget.set(limits);
    }
    void run(double seconds)
    {
        for (double gone = 0; gone < seconds; gone += step) {
            waited.push_back(waiting);
            budget.advance(step, waiting);
            // A vCPU computes for 1 ms between two writes.
            for (unsigned answered = 0; waiting > 0 && answered < vcpus_ && may_answer();
                 ++answered) {
                budget.charge_write();
                ++written;
                --waiting;
            }
            if (++turn % 100 == 0)
                waiting = vcpus_;
        }
    }
    [[nodiscard]] bool may_answer() const
    {
        return budget.permits_write() || !budget.permits_waiting();
    }
    /// Of the vCPUs' time, in the worst stretch of 100 ms.
    [[nodiscard]] double worst_share() const
    {
        const auto window = static_cast<size_t>(std::lround(0.1 / step));
        double sum = 0, worst = 0;
        for (size_t i = 0; i < waited.size(); ++i) {
            sum += waited[i] - (i >= window ? waited[i - window] : 0);
            worst = std::max(worst, sum);
        }
        return worst / static_cast<double>(window) / vcpus_;
    }

    static constexpr double step = 1e-5;
    unsigned vcpus_;
    WriteBudget budget;
    unsigned waiting = 0;
    unsigned written = 0;
    unsigned turn = 0;
    std::vector<double> waited;
};

TEST(WriteBudget, PermitsTheRateAndSavesUpLittle)
{
    Guest guest(2, {.writes_s = 1000, .most = 1});
    guest.budget.advance(10, 0); // an idle guest
    guest.run(1);
    EXPECT_NEAR(guest.written, 1000, 20);
}

TEST(WriteBudget, KeepsTheShareOfWaitingInEachWindow)
{
    for (const double most : {0.1, 0.3, 0.7}) {
        Guest guest(4, {.writes_s = 10, .most = most});
        guest.budget.advance(10, 0);
        guest.run(1);
        EXPECT_LE(guest.worst_share(), most + 0.02) << most;
        EXPECT_GT(guest.worst_share(), most * 0.7) << most;
    }
}

TEST(WriteBudget, TakesWhatStoodStillFromTheWaiting)
{
    WriteBudget budget(2);
    budget.set({.writes_s = 10, .most = 0.5});
    budget.advance(1, 0);
    EXPECT_TRUE(budget.permits_waiting());
    budget.charge_standstill(1);
    EXPECT_FALSE(budget.overdrawn());
    budget.advance(1, 0);
    EXPECT_TRUE(budget.permits_waiting());
    budget.charge_standstill(0.01);
    EXPECT_FALSE(budget.permits_waiting());
    budget.advance(0.03, 0);
    EXPECT_TRUE(budget.permits_waiting());
}

TEST(WriteBudget, ForetellsWhenItChangesItsMind)
{
    WriteBudget budget(2);
    budget.set({.writes_s = 100, .most = 0.5});
    budget.advance(1, 0);
    EXPECT_EQ(budget.seconds_to_write(), 0);
    budget.charge_write();
    EXPECT_NEAR(budget.seconds_to_write(), 0.01, 1e-9);
    EXPECT_TRUE(std::isinf(budget.seconds_of_waiting(0)));
    const double until = budget.seconds_of_waiting(2);
    budget.advance(until * 0.99, 2);
    EXPECT_TRUE(budget.permits_waiting());
    budget.advance(until * 0.02, 2);
    EXPECT_FALSE(budget.permits_waiting());
}

TEST(WriteBudget, IsOverdrawnByFaultsAlone)
{
    WriteBudget budget(1);
    budget.set({.writes_s = 100, .most = 0.2});
    unsigned seconds = 0;
    for (; !budget.overdrawn() && seconds < 10; ++seconds) {
        budget.advance(1, 0);
        for (int i = 0; i < 10'000; ++i)
            budget.charge_write(); // 15 % of its time
    }
    EXPECT_EQ(seconds, 1U) << "all at once is too much, whatever the average";
    WriteBudget patient(1);
    patient.set({.writes_s = 100, .most = 0.2});
    for (int i = 0; i < 100'000 && !patient.overdrawn(); ++i) {
        patient.advance(1e-4, 0);
        patient.charge_write();
    }
    EXPECT_FALSE(patient.overdrawn());
}

} // namespace
} // namespace drover::testing
