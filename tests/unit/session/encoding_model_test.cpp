// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/encoding_model.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using enum stream::PageEncoding;

constexpr uint64_t frame = 512U << 10; // bytes
constexpr double lz4_s = 2e-9 * frame, zstd_s = 5e-9 * frame;

EncodingBounds bounds(stream::EncodingSet allowed = stream::all_encodings)
{
    return {.allowed = allowed};
}

/// After some frames over a link that carries so much, and a trial of both codecs.
EncodingModel at(double bytes_s, const EncodingBounds& allowed = bounds())
{
    EncodingModel model(allowed, 1);
    for (int i = 0; i < 100; ++i)
        model.wrote(frame, frame / bytes_s);
    model.packed(Lz4, frame, frame / 2, lz4_s, lz4_s);
    model.packed(Zstd, frame, frame / 4, zstd_s, zstd_s);
    return model;
}

TEST(EncodingModel, OnAFastLinkNothingIsEvenTried)
{
    EncodingModel model(bounds(), 2);
    EXPECT_FALSE(model.may_gain(Lz4, 1)) << "before anything is known, too";
    for (int i = 0; i < 100; ++i) {
        model.wrote(frame, frame / 1e9);
        ASSERT_FALSE(model.may_gain(Lz4, 1));
        ASSERT_FALSE(model.may_gain(Zstd, 1));
    }
    EXPECT_EQ(model.choose(0.01, 0.01), Raw);
    EXPECT_FALSE(model.keeps_versions(false));
}

TEST(EncodingModel, OnASlowLinkTheFewestBytesGo)
{
    const EncodingModel model = at(30e6);
    EXPECT_TRUE(model.may_gain(Lz4, 1));
    EXPECT_TRUE(model.may_gain(Zstd, 1));
    EXPECT_EQ(model.choose(0.5, 0.25), Zstd);
    EXPECT_EQ(model.choose(0.5, 0.5), Lz4) << "where zstd makes no less of it";
    EXPECT_EQ(model.choose(1, 1), Raw);
    EXPECT_EQ(model.choose(0.9, 0.85), Raw) << "what saves little is not worth the trouble";
    EXPECT_TRUE(model.keeps_versions(false));
}

TEST(EncodingModel, BetweenThemItIsTheFasterCodec)
{
    const EncodingModel model = at(90e6);
    EXPECT_EQ(model.choose(0.4, 0.3), Lz4);
    EXPECT_EQ(at(190e6).choose(0.4, 0.3), Raw);
}

TEST(EncodingModel, NothingBeyondTheBounds)
{
    const EncodingModel model = at(1e6, bounds({Raw, Zstd}));
    EXPECT_FALSE(model.may_gain(Lz4, 1));
    EXPECT_TRUE(model.may_gain(Zstd, 1));
    EXPECT_FALSE(model.keeps_versions(false));
    EXPECT_FALSE(at(1e6, bounds(stream::plain_encodings)).may_gain(Zstd, 1));
}

TEST(EncodingModel, ProcessorTimeIsBounded)
{
    EncodingBounds half = bounds();
    half.cpu = 0.5;
    EncodingModel model = EncodingModel(half, 2); // a quarter of a core each
    for (int i = 0; i < 100; ++i)
        model.wrote(frame, frame / 30e6);
    model.packed(Lz4, frame, frame / 2, 1.0, 0.001);
    EXPECT_FALSE(model.may_gain(Lz4, 3.5)) << "a second of 3.5 was spent";
    EXPECT_TRUE(model.may_gain(Lz4, 4.5));
}

TEST(EncodingModel, ARateLimitIsASlowLinkWhileItHolds)
{
    EncodingModel model(bounds(), 1);
    for (int i = 0; i < 100; ++i)
        model.wrote(frame, frame / 5e9, frame / 30e6);
    EXPECT_TRUE(model.may_gain(Lz4, 1));
    model.set_unlimited(true); // the guest's pause: every millisecond of it counts
    EXPECT_FALSE(model.may_gain(Lz4, 1));
    for (int i = 0; i < 10; ++i)
        model.wrote(frame, frame / 5e9);
    model.set_unlimited(false);
    EXPECT_TRUE(model.may_gain(Lz4, 1));
}

TEST(EncodingModel, TheLevelFollowsTheLink)
{
    EncodingModel model = at(2e6);
    for (int i = 0; i < 100; ++i)
        model.packed(Zstd, frame, frame / 4, zstd_s, zstd_s);
    EXPECT_EQ(model.zstd_level(), 6) << "the most that is permitted";
    for (int i = 0; i < 100; ++i)
        model.wrote(frame, frame / 200e6);
    for (int i = 0; i < 100; ++i)
        model.packed(Zstd, frame, frame / 4, zstd_s, zstd_s);
    EXPECT_EQ(model.zstd_level(), 1);
}

TEST(EncodingModel, AHiccupIsNoSlowLink)
{
    EncodingModel model(bounds(), 1);
    for (int i = 0; i < 100; ++i)
        model.wrote(frame, frame / 1e9);
    model.wrote(frame, 0.2); // somebody else had the processor
    EXPECT_LT(model.link_s_per_byte(), 3e-9);
    EXPECT_FALSE(model.may_gain(Lz4, 1));
    model.wrote(100, 1e-3);
    EXPECT_LT(model.link_s_per_byte(), 3e-9) << "of so small a frame it is the system call's time";
}

TEST(EncodingModel, VersionsAreKeptWhileBuffersFillAgain)
{
    EncodingModel model = at(30e6);
    EXPECT_TRUE(model.keeps_versions(true));
    for (int i = 0; i < 30; ++i)
        model.wrote(frame, frame / 5e9);
    EXPECT_FALSE(model.may_gain(Lz4, 1));
    EXPECT_TRUE(model.keeps_versions(true)) << "15 MiB at once are no fast link";
    for (int i = 0; i < 1000; ++i)
        model.wrote(100'000, 1e-5);
    EXPECT_TRUE(model.keeps_versions(true)) << "nor are frames that hold deltas only";
    for (int i = 0; i < 1000; ++i)
        model.wrote(frame, frame / 5e9);
    EXPECT_FALSE(model.keeps_versions(true));
}

TEST(EncodingModel, VersionsAreKeptUntilTheLinkIsKnown)
{
    EncodingModel model(bounds(), 1);
    EXPECT_TRUE(model.keeps_versions(false));
    for (uint64_t sent = 0; sent < 24U << 20; sent += frame)
        model.wrote(frame, frame / 1e9);
    EXPECT_FALSE(model.keeps_versions(false));
    EXPECT_FALSE(model.keeps_versions(true));
    for (int i = 0; i < 100; ++i)
        model.wrote(frame, frame / 400e6);
    EXPECT_TRUE(model.keeps_versions(true)) << "what was let go is lost: not for nothing";
    EXPECT_FALSE(model.keeps_versions(false));
}

} // namespace
} // namespace drover
