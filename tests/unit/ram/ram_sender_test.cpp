// SPDX-License-Identifier: GPL-2.0-or-later
#include "../session/fake_ram.h"
#include "../stream/run_loop.h"
#include "migration/session/page_batch.h"
#include "migration/session/ram_sender.h"
#include "migration/stream/frame_io.h"

#include <gtest/gtest.h>
#include <optional>

namespace drover {
namespace {

using stream::Bytes;
using stream::FrameType;
using Round = RamSender::Round;

/// One data channel of a sender whose guest has three stripes of RAM, each with data.
class RamSenderTest : public ::testing::Test {
protected:
    RamSenderTest() : ram_({{"ram0", 3 * stripe_pages}}, true)
    {
        ram_.set_running(true);
        for (uint64_t stripe = 0; stripe < 3; ++stripe)
            ram_.write(0, first_of(stripe), stripe + 1);
        auto pair = socket_pair();
        EXPECT_TRUE(pair);
        channel_ = make_socket_channel(std::move(pair->second));
        std::vector<std::unique_ptr<Channel>> channels;
        channels.push_back(make_socket_channel(std::move(pair->first)));
        sender_ = std::make_unique<RamSender>(
            ram_.blocks(), ram_, limit_, std::move(channels), SendOptions{},
            RamSender::Callbacks{
                .round_done = [this](Result<RoundStats> stats) { done_ = std::move(stats); },
                .counted =
                    [this](Result<RamSender::DirtyCount> left) { counted_ = std::move(left); },
            });
    }

    static uint64_t first_of(uint64_t stripe) { return stripe * stripe_pages; }

    /// Sends a round and returns the pages as they came.
    std::vector<uint64_t> round(unsigned number, Round kind, bool leave_hot = false)
    {
        done_.reset();
        sender_->start_round(number, kind, leave_hot);
        EXPECT_TRUE(run_until([this] { return done_.has_value(); }));
        EXPECT_TRUE(done_ && *done_);
        return received();
    }

    uint64_t count()
    {
        counted_.reset();
        sender_->count_dirty();
        EXPECT_TRUE(run_until([this] { return counted_.has_value(); }));
        return counted_ && *counted_ ? (*counted_)->pages : ~0ULL;
    }

    std::vector<uint64_t> received()
    {
        std::vector<uint64_t> pages;
        if (!reader_) {
            reader_ = std::make_unique<stream::FrameReader>(*channel_);
            EXPECT_TRUE(reader_->read_preamble());
        }
        for (;;) {
            auto frame = reader_->read();
            if (!frame || (*frame)->header.type == FrameType::RoundEnd)
                return pages;
            if ((*frame)->header.type == FrameType::Pages)
                append_pages((*frame)->payload, pages);
        }
    }

    static void append_pages(std::span<const std::byte> payload, std::vector<uint64_t>& pages)
    {
        auto view = stream::decode_pages(payload);
        ASSERT_TRUE(view);
        for (const stream::PageRun& run : view->table.runs)
            for (uint64_t page = 0; page < run.count; ++page)
                pages.push_back(run.first_page + page);
    }

    testing::FakeRam ram_;
    RateLimit limit_;
    std::unique_ptr<Channel> channel_;
    std::unique_ptr<stream::FrameReader> reader_;
    std::optional<Result<RoundStats>> done_;
    std::optional<Result<RamSender::DirtyCount>> counted_;
    std::unique_ptr<RamSender> sender_;
};

using Pages = std::vector<uint64_t>;

TEST_F(RamSenderTest, FirstRoundLeavesForItsEndWhatIsBeingWrittenTo)
{
    bool written = false;
    ram_.before_collect = [&](size_t, uint64_t first) {
        if (first == first_of(1) && !std::exchange(written, true))
            ram_.write(0, first_of(1) + 7, 9);
    };
    EXPECT_EQ(round(1, Round::Live),
              (Pages{first_of(0), first_of(2), first_of(1), first_of(1) + 7}));
    EXPECT_EQ(count(), 0U) << "a page that waited for its turn is sent once";
}

TEST_F(RamSenderTest, LaterRoundsGoInOrder)
{
    (void)round(1, Round::Live);
    ram_.write(0, first_of(2), 20);
    ram_.write(0, first_of(0), 21);
    EXPECT_EQ(count(), 2U);
    ram_.before_collect = [&](size_t, uint64_t first) {
        if (first == first_of(0))
            ram_.write(0, first_of(0) + 1, 22);
    };
    EXPECT_EQ(round(2, Round::Live), (Pages{first_of(0), first_of(0) + 1, first_of(2)}));
}

TEST_F(RamSenderTest, HotPagesCanWait)
{
    (void)round(1, Round::Live);
    ram_.write(0, first_of(0), 20);
    ram_.write(0, first_of(0) + 1, 21);
    EXPECT_EQ(count(), 2U);
    ram_.write(0, first_of(0), 22); // again, before its turn
    EXPECT_EQ(round(2, Round::Live, true), Pages{first_of(0) + 1});
    EXPECT_EQ(count(), 1U) << "it still waits";
    EXPECT_EQ(round(3, Round::Live), Pages{first_of(0)});
}

TEST_F(RamSenderTest, OneWriteInTheFirstRoundMakesNoPageHot)
{
    ram_.before_collect = [&](size_t, uint64_t first) { ram_.write(0, first + 7, 9); };
    EXPECT_EQ(round(1, Round::Live, true).size(), 6U);
}

TEST_F(RamSenderTest, WhatACoarseTrackerReportsIsSentWhereItDiffers)
{
    ram_.coarse = true;
    EXPECT_EQ(round(1, Round::Live).size(), 3U);
    // A huge page: one byte written, and all of it is reported.
    auto write_huge = [&](uint64_t seed) {
        for (uint64_t page = 0; page < stripe_pages; ++page)
            ram_.touch(0, first_of(1) + page);
        ram_.write(0, first_of(1) + 7, seed);
    };
    write_huge(20);
    EXPECT_EQ(count(), 1U) << "the policy reckons with what differs";
    EXPECT_EQ(round(2, Round::Live), Pages{first_of(1) + 7});
    write_huge(21);
    EXPECT_EQ(round(3, Round::Switching), Pages{first_of(1) + 7});
    // There and back between two looks, by way of nothing.
    ram_.write_zeros(0, first_of(1) + 7);
    EXPECT_EQ(count(), 1U);
    EXPECT_EQ(round(4, Round::Live), Pages{first_of(1) + 7});
    ram_.write(0, first_of(1) + 7, 21);
    EXPECT_EQ(round(5, Round::Last), Pages{first_of(1) + 7});
}

TEST_F(RamSenderTest, CountTellsAllThatIsLeftAndSendsNothing)
{
    (void)round(1, Round::Live);
    ram_.write(0, first_of(0), 10);
    EXPECT_EQ(count(), 1U);
    ram_.write(0, first_of(0), 11); // the same page again
    ram_.write(0, first_of(1) + 3, 12);
    EXPECT_EQ(count(), 2U);
    EXPECT_EQ(round(2, Round::Live), (Pages{first_of(0), first_of(1) + 3}));
    EXPECT_EQ(count(), 0U);
}

TEST_F(RamSenderTest, SwitchingAndLastRoundsCollectByThemselves)
{
    (void)round(1, Round::Live);
    ram_.write(0, first_of(1), 10);
    EXPECT_EQ(round(2, Round::Switching), Pages{first_of(1)});
    EXPECT_FALSE((*done_)->guest_paused);
    ram_.write(0, first_of(2) + 5, 11);
    ram_.set_running(false);
    EXPECT_EQ(round(3, Round::Last), Pages{first_of(2) + 5});
    EXPECT_TRUE((*done_)->guest_paused);
}

/// Of a guest with a balloon and so many MiB of touched memory (zeros: they need not be sent), what
/// the round in the pause costs, in seconds of processor time.
double last_round_cost(uint64_t mib)
{
    const uint64_t pages = mib * 256;
    testing::FakeRam ram({{"ram0", pages}}, true);
    const Bytes zeros(1 << 20);
    for (uint64_t at = 0; at < mib; ++at)
        EXPECT_TRUE(write_ram(ram.blocks()[0], at << 20, zeros));
    auto pair = socket_pair();
    EXPECT_TRUE(pair);
    std::vector<std::unique_ptr<Channel>> channels;
    channels.push_back(make_socket_channel(std::move(pair->first)));
    RateLimit limit;
    bool done = false;
    RamSender sender(ram.blocks(), ram, limit, std::move(channels), {.compare_holes = true},
                     {.round_done = [&](const Result<RoundStats>& stats) { done = bool(stats); },
                      .counted = {}});
    auto round = [&](unsigned number, Round kind) {
        done = false;
        sender.start_round(number, kind);
        EXPECT_TRUE(run_until([&] { return done; }));
    };
    round(1, Round::Live);
    ram.set_running(true);
    ram.give_back(0, pages / 2, 1); // so that it has to look
    ram.set_running(false);
    const auto start = clock();
    round(2, Round::Last);
    return static_cast<double>(clock() - start) / CLOCKS_PER_SEC;
}

TEST(RamSenderCost, ThePauseGrowsWithABalloonsGuestAtMostLinearly)
{
    double best = 1e9; // of several: others use the machine too
    for (int attempt = 0; attempt < 5 && best > 8; ++attempt)
        best = std::min(best, last_round_cost(256) / last_round_cost(64));
    EXPECT_LE(best, 8) << "four times the memory; it was 16 when each stripe's search walked on to "
                          "the end of the file's data";
}

TEST_F(RamSenderTest, BrokenTrackerFailsTheCount)
{
    (void)round(1, Round::Live);
    ram_.fail_collect_all = true;
    sender_->count_dirty();
    EXPECT_TRUE(run_until([this] { return done_ && !*done_; })) << "as a round's failure";
}

/// What is written to it is nowhere.
class SinkChannel : public Channel {
public:
    Status write_all(std::span<const iovec>) override { return {}; }
    Status read_exact(std::span<std::byte>) override { return fail(ErrorKind::Connection, "none"); }
    void abort() override {}
    [[nodiscard]] uint64_t bytes_written() const override { return 0; }
};

class BrokenChannel : public SinkChannel {
public:
    Status write_all(std::span<const iovec>) override
    {
        return fail(ErrorKind::Connection, "it broke");
    }
};

/// A link that breaks before anything was sent over it leaves all of the round to be sent.
TEST(RamSender, ARoundThatHadNotBegunBeginsOverTheNextLink)
{
    testing::FakeRam ram({{"ram0", 3 * stripe_pages}}, true);
    ram.set_running(true);
    for (uint64_t stripe = 0; stripe < 3; ++stripe)
        ram.write(0, stripe * stripe_pages, stripe + 1);
    RateLimit limit;
    std::optional<Result<RoundStats>> done;
    bool stopped = false;
    std::vector<std::unique_ptr<Channel>> channels;
    channels.push_back(std::make_unique<BrokenChannel>());
    channels.push_back(std::make_unique<SinkChannel>());
    RamSender sender(ram.blocks(), ram, limit, std::move(channels), SendOptions{},
                     {.round_done = [&](Result<RoundStats> stats) { done = std::move(stats); },
                      .counted = [](Result<RamSender::DirtyCount>) {},
                      .stopped = [&] { stopped = true; }});
    sender.start_round(1, Round::Live);
    ASSERT_TRUE(run_until([&] { return stopped && done; }));
    ASSERT_FALSE(*done);
    EXPECT_FALSE(ram.tracking());
    done.reset();
    channels.clear();
    channels.push_back(std::make_unique<SinkChannel>());
    channels.push_back(std::make_unique<SinkChannel>());
    ASSERT_TRUE(sender.go_on(std::move(channels), {.frames = {0, 0}}));
    sender.continue_round(1, false);
    ASSERT_TRUE(run_until([&] { return done.has_value(); }));
    ASSERT_TRUE(*done) << done->error().text();
    EXPECT_EQ((*done)->pages_sent, 3U);
}

/// Each 127th page holds something, the others are zeros.
class SparseMemory : public RamReader {
public:
    Status read(uint64_t offset, std::span<std::byte> into) const override
    {
        ++reads;
        for (size_t at = 0; at < into.size(); at += ram_page_size)
            std::ranges::fill(into.subspan(at, ram_page_size),
                              std::byte((offset + at) / ram_page_size % 127 == 0));
        return {};
    }
    mutable uint64_t reads = 0;
};

/// Each read of a hypervisor's memory costs as much as some hundred pages do.
TEST(PageBatch, AReaderIsAskedForManyPagesAtOnce)
{
    constexpr uint64_t pages = 1U << 15;
    const auto memory = std::make_shared<SparseMemory>();
    const RamBlock block{.name = "ram", .size = pages * ram_page_size, .reader = memory};
    SinkChannel channel;
    stream::FrameWriter writer(channel);
    RateLimit limit;
    SendProgress progress;
    PageEncoder encoder({}, std::vector{block.pages()}, 1, progress.encodings);
    SentFrames frames;
    PageBatch batch(writer, limit, progress, encoder, frames);
    PageBitmap present(pages);
    ASSERT_TRUE(batch.add(0, block, present, 0, pages));
    ASSERT_TRUE(batch.flush());
    EXPECT_EQ(progress.pages_sent, (pages + 126) / 127);
    EXPECT_EQ(progress.pages_zero, pages - (pages + 126) / 127);
    EXPECT_LE(memory->reads, pages / 64) << "it was once a page where little room was left";
}

} // namespace
} // namespace drover
