// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"

#include <gtest/gtest.h>

namespace drover::state {
namespace {

constexpr uint64_t qemu = qemu_lapic_hz;
constexpr uint64_t xen = xen_lapic_hz;

/// Configurations of the divisors 1, 2, 4 … 128.
constexpr uint32_t configurations[] = {0xb, 0, 1, 2, 3, 8, 9, 0xa};

Lapic guest(uint64_t born, uint32_t configuration, uint32_t count)
{
    Lapic lapic;
    lapic.timer_hz = born;
    lapic.divide_configuration = configuration;
    lapic.initial_count = count;
    return lapic;
}

uint32_t divisor_for(uint64_t born, uint64_t here, uint32_t configuration)
{
    return divisor_of(timer_for(guest(born, configuration, 1000), here).divide_configuration);
}

double nanoseconds(uint32_t divisor, uint32_t count, uint64_t hz)
{
    return 1e9 * divisor * count / static_cast<double>(hz);
}

TEST(LapicTimerTest, DivisorsAreTheManuals)
{
    for (uint32_t power = 0; power < 8; ++power)
        EXPECT_EQ(divisor_of(configurations[power]), 1U << power);
}

TEST(LapicTimerTest, AtHomeNothingChanges)
{
    for (const uint32_t configuration : configurations) {
        const Lapic lapic = guest(qemu, configuration, 12345);
        EXPECT_EQ(timer_for(lapic, qemu).divide_configuration, configuration);
        EXPECT_EQ(timer_for(lapic, qemu).initial_count, 12345U);
        EXPECT_EQ(free_timer_for(lapic, qemu).divisor, divisor_of(configuration));
        EXPECT_EQ(free_timer_for(lapic, qemu).initial_count, 12345U);
    }
}

TEST(LapicTimerTest, TicksAreNotLongerThanTheGuestBelieves)
{
    const uint32_t on_xen[] = {1, 1, 1, 1, 1, 2, 4, 8};
    const uint32_t on_qemu[] = {8, 16, 32, 64, 128, 128, 128, 128};
    for (size_t i = 0; i < std::size(configurations); ++i) {
        EXPECT_EQ(divisor_for(qemu, xen, configurations[i]), on_xen[i]) << i;
        EXPECT_EQ(divisor_for(xen, qemu, configurations[i]), on_qemu[i]) << i;
        EXPECT_EQ(ticks_late(guest(qemu, configurations[i], 1), xen), i < 4);
        EXPECT_FALSE(ticks_late(guest(xen, configurations[i], 1), qemu));
    }
    const uint32_t free[] = {1, 1, 1, 1, 1, 3, 6, 12};
    for (size_t i = 0; i < std::size(configurations); ++i)
        EXPECT_EQ(free_timer_for(guest(qemu, configurations[i], 1), xen).divisor, free[i]);
}

TEST(LapicTimerTest, WhatRunsTakesAsLongAsBefore)
{
    for (const uint64_t born : {qemu, xen})
        for (const uint32_t configuration : configurations)
            for (const uint32_t count : {1U, 100U, 99'999U, 20'000'000U}) {
                const uint64_t there = born == qemu ? xen : qemu;
                const Lapic lapic = guest(born, configuration, count);
                const double before = nanoseconds(divisor_of(configuration), count, born);
                const LapicTimer timer = timer_for(lapic, there);
                const uint32_t divisor = divisor_of(timer.divide_configuration);
                EXPECT_NEAR(nanoseconds(divisor, timer.initial_count, there), before,
                            nanoseconds(divisor, 1, there));
                const FreeLapicTimer free = free_timer_for(lapic, there);
                EXPECT_NEAR(nanoseconds(free.divisor, free.initial_count, there), before,
                            nanoseconds(free.divisor, 1, there));
            }
}

TEST(LapicTimerTest, TheWayBackGivesTheGuestsOwn)
{
    for (const uint64_t born : {qemu, xen})
        for (const uint32_t configuration : configurations)
            for (const uint32_t count : {0U, 1U, 62'500U, 1'007'663U, 20'000'000U}) {
                const uint64_t there = born == qemu ? xen : qemu;
                const Lapic lapic = guest(born, configuration, count);
                Lapic freely = lapic;
                set_free_timer(freely, free_timer_for(lapic, there), there, born);
                EXPECT_EQ(freely.divide_configuration, configuration);
                Lapic back;
                set_timer(back, timer_for(lapic, there), there, born);
                EXPECT_EQ(back.timer_hz, born);
                const bool exact = born == qemu ? divisor_of(configuration) >= 16
                                                : divisor_of(configuration) <= 16;
                if (!exact)
                    continue;
                EXPECT_EQ(back.divide_configuration, configuration);
                EXPECT_NEAR(back.initial_count, count, 1);
                EXPECT_NEAR(freely.initial_count, count, ticks_late(lapic, there) ? 16 : 1);
            }
}

TEST(LapicTimerTest, OfDivisorsThatBecomeTheSameTheUsualOneComesBack)
{
    Lapic back;
    set_timer(back, timer_for(guest(qemu, 0xb, 32'000), xen), xen, qemu); // 1: 32 us
    EXPECT_EQ(divisor_of(back.divide_configuration), 16U);
    EXPECT_EQ(back.initial_count, 2'000U);
    set_timer(back, timer_for(guest(xen, 0xa, 100), qemu), qemu, xen); // 128
    EXPECT_EQ(divisor_of(back.divide_configuration), 16U);
    EXPECT_EQ(back.initial_count, 800U);
}

TEST(LapicTimerTest, WhatTheGuestWroteSinceItCameIsItsOwn)
{
    Lapic back;
    set_timer(back, {3, 1000}, xen, qemu); // 16 ticks of 10 ns
    EXPECT_EQ(back.divide_configuration, 3U);
    EXPECT_EQ(back.initial_count, 10'000U);
}

TEST(LapicTimerTest, NothingOverflows)
{
    const LapicTimer timer = timer_for(guest(xen, 3, UINT32_MAX), qemu);
    EXPECT_EQ(timer.initial_count, UINT32_MAX);
    Lapic back;
    set_timer(back, {0xffffffff, UINT32_MAX}, xen, qemu);
    set_free_timer(back, {0, 5}, xen, qemu);
    EXPECT_EQ(back.initial_count, 1U) << "one that runs does not stop";
    set_free_timer(back, {UINT32_MAX, UINT32_MAX}, xen, qemu);
    EXPECT_EQ(back.initial_count, UINT32_MAX);
}

} // namespace
} // namespace drover::state
