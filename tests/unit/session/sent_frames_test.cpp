// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/sent_frames.h"

#include <gtest/gtest.h>
#include <tuple>

namespace drover {
namespace {

using stream::PageEncoding;
using Runs = std::vector<std::tuple<size_t, uint64_t, uint64_t>>;

stream::PagesTable frame(uint32_t block, std::vector<stream::PageRun> runs)
{
    return {.block = block, .round = 1, .page_size = 4096, .runs = std::move(runs)};
}

Runs keep(SentFrames& frames, uint64_t applied)
{
    Runs lost;
    const Status kept =
        frames.keep_first(applied, [&](size_t block, uint64_t first, uint64_t count) {
            lost.emplace_back(block, first, count);
        });
    EXPECT_TRUE(kept) << kept.error().text();
    return lost;
}

TEST(SentFrames, NameWhatCameAfterTheOnesThatArrived)
{
    SentFrames frames;
    frames.begin_round();
    frames.add(frame(0, {{1, 2, PageEncoding::Raw}, {3, 4, PageEncoding::Zero}}));
    frames.add(frame(1, {{0, 1, PageEncoding::Raw}, {9, 1, PageEncoding::Raw}}));
    frames.add_round_end();
    EXPECT_EQ(frames.count(), 3U);
    EXPECT_EQ(keep(frames, 3), Runs());
    EXPECT_EQ(keep(frames, 1), (Runs{{1, 0, 1}, {1, 9, 1}}));
    EXPECT_EQ(frames.count(), 1U);
    frames.add(frame(2, {{5, 1, PageEncoding::Raw}}));
    EXPECT_EQ(keep(frames, 0), (Runs{{0, 1, 6}, {2, 5, 1}})) << "neighbours are one run";
    EXPECT_EQ(frames.count(), 0U);
}

TEST(SentFrames, OfRoundsThatWereAcknowledgedAreCountedAlone)
{
    SentFrames frames;
    frames.add(frame(0, {{1, 2, PageEncoding::Raw}}));
    frames.add_round_end();
    frames.begin_round();
    frames.add(frame(0, {{7, 1, PageEncoding::Raw}}));
    EXPECT_EQ(frames.count(), 3U);
    EXPECT_EQ(keep(frames, 2), (Runs{{0, 7, 1}}));
}

TEST(SentFrames, TellAPeerThatCannotBeRight)
{
    SentFrames frames;
    frames.add(frame(0, {{1, 2, PageEncoding::Raw}}));
    frames.begin_round();
    frames.add(frame(0, {{1, 2, PageEncoding::Raw}}));
    const auto ignore = [](size_t, uint64_t, uint64_t) {};
    EXPECT_FALSE(frames.keep_first(0, ignore)) << "less than was acknowledged";
    EXPECT_FALSE(frames.keep_first(3, ignore)) << "more than was sent";
    EXPECT_TRUE(frames.keep_first(1, ignore));
}

} // namespace
} // namespace drover
