// SPDX-License-Identifier: GPL-2.0-or-later
#include "victim.h"
#include "vmm/qemu/tracker/holding.h"
#include "vmm/qemu/tracker/kernel_abi.h"

#include <cerrno>
#include <gtest/gtest.h>

namespace drover::testing {
namespace {

TEST(Holding, TakesItsFeaturesOnceWhoeverComesFirst)
{
    Victim victim(4);
    const BlockMapping& block = victim.mappings()[0];
    if (!block.holding)
        GTEST_SKIP() << enable_holding(block).error().text();
    const auto first = enable_holding(block);
    ASSERT_TRUE(first) << first.error().text();
    EXPECT_TRUE(*first & abi::uffd_feature_pagefault_flag_wp);
    const auto second = enable_holding(block);
    ASSERT_TRUE(second) << second.error().text();
    EXPECT_EQ(*first, *second);
}

TEST(Holding, WithoutTheRightToItSaysWhatToDo)
{
    BlockMapping block;
    block.holding_error = EPERM;
    const auto features = enable_holding(block);
    ASSERT_FALSE(features);
    EXPECT_NE(features.error().message.find("Operation not permitted"), std::string::npos);
    EXPECT_NE(features.error().hint.find("vm.unprivileged_userfaultfd"), std::string::npos);
}

} // namespace
} // namespace drover::testing
