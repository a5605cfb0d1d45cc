// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/vcpu.h"

#include "random_part.h"

#include <gtest/gtest.h>
#include <xxhash.h>

namespace drover::state {
namespace {

using drover::testing::random_part;

TEST(VcpuState, ComesBackFromItsBytes)
{
    for (uint64_t seed = 1; seed <= 200; ++seed) {
        const auto vcpu = random_part<Vcpu>(seed);
        const auto bytes = encode(vcpu);
        const auto again = decode<Vcpu>(bytes);
        ASSERT_TRUE(again) << seed;
        EXPECT_EQ(encode(*again), bytes) << seed;
        EXPECT_EQ(part_to_json(*again), part_to_json(vcpu)) << seed;
    }
}

/// What one release writes, each later one reads: whoever changes the fields changes the version.
TEST(VcpuState, HasTheBytesOfItsVersion)
{
    const auto bytes = encode(random_part<Vcpu>(7));
    EXPECT_EQ(Vcpu::version, 1U);
    EXPECT_EQ(bytes.size(), 1087U);
    EXPECT_EQ(XXH3_64bits(bytes.data(), bytes.size()), 5128941417960703739U);
    Vcpu vcpu;
    vcpu.number = 0x01020304;
    vcpu.run_state = RunState::Halted;
    vcpu.general[1] = 0x1122334455667788;
    const auto begin = encode(vcpu);
    const std::array<uint8_t, 21> golden = {4, 3, 2,    1,    1,    0,    0,    0,    0,    0,   0,
                                            0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    for (size_t i = 0; i < golden.size(); ++i)
        EXPECT_EQ(std::to_integer<uint8_t>(begin[i]), golden[i]) << i;
}

TEST(VcpuState, OnlyWholeAndLegalBytesAreTaken)
{
    const auto bytes = encode(random_part<Vcpu>(3));
    for (size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(decode<Vcpu>(std::span(bytes).first(size))) << size;
    auto longer = bytes;
    longer.push_back({});
    EXPECT_FALSE(decode<Vcpu>(longer));
    auto bad_state = bytes;
    bad_state[4] = std::byte{4};
    EXPECT_FALSE(decode<Vcpu>(bad_state));
    Vcpu many;
    many.msrs.resize(5000);
    EXPECT_FALSE(decode<Vcpu>(encode(many)));
}

TEST(VcpuState, IsShownWithItsUnits)
{
    Vcpu vcpu;
    vcpu.tsc = 12;
    vcpu.cr0 = 0x60000010;
    vcpu.run_state = RunState::WaitsForSipi;
    const Json json = part_to_json(vcpu);
    EXPECT_EQ(json["tsc-ticks"], 12);
    EXPECT_EQ(json["cr0"], "0x60000010");
    EXPECT_EQ(json["run-state"], "waits-for-sipi");
    EXPECT_EQ(json["segments"].size(), 8U);
    EXPECT_EQ(json["segments"][0]["selector"], "0x0");
}

} // namespace
} // namespace drover::state
