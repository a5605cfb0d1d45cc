// SPDX-License-Identifier: GPL-2.0-or-later
#include "accel/kvm/probe.h"
#include "util/clock.h"

#include <cerrno>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace drover::kvm {
namespace {

TEST(KvmProbe, JudgesBySpeed)
{
    EXPECT_FALSE((KvmSpeed{0.7e6}.usable())); // a KVM that emulates
    EXPECT_FALSE((KvmSpeed{4.9e6}.usable()));
    EXPECT_TRUE((KvmSpeed{2e9}.usable()));
}

TEST(KvmProbe, GivesAnAnswerInTimeAndLeavesNothing)
{
    const TimePoint start = Clock::now();
    const auto speed = probe_kvm();
    EXPECT_LT(seconds_since(start), 10.0); // a tenth of a second, but for a busy host
    if (speed)
        EXPECT_GT(speed->instructions_per_second, 0);
    else
        EXPECT_NE(speed.error().text().find("/dev/kvm"), std::string::npos);
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
}

} // namespace
} // namespace drover::kvm
