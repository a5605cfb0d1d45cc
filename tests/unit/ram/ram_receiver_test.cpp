// SPDX-License-Identifier: GPL-2.0-or-later
#include "../session/fake_ram.h"
#include "../stream/run_loop.h"
#include "migration/session/ram_receiver.h"
#include "migration/stream/page_codec.h"
#include "migration/stream/page_delta.h"
#include "small_tmpfs.h"

#include <gtest/gtest.h>
#include <optional>
#include <sys/socket.h>
#include <unistd.h>

namespace drover {
namespace {

using stream::Bytes;
using stream::FrameType;
using stream::PageEncoding;
using stream::PageRun;

constexpr stream::SessionToken our_token{std::byte{1}, std::byte{2}};

/// The source's end of a data channel, in the hands of somebody who means no good.
struct DataChannel {
    std::unique_ptr<Channel> channel;
    std::unique_ptr<stream::FrameWriter> writer;

    void join(uint32_t index, const stream::SessionToken& token = our_token) const
    {
        send(FrameType::Join, stream::encode(stream::Join{token, index}));
    }
    void send(FrameType type, const Bytes& payload) const
    {
        (void)writer->write(type, payload); // it may have been closed already
    }
    void send_pages(const stream::PagesTable& table, uint64_t raw_pages) const
    {
        Bytes payload;
        stream::encode_pages_table(table, payload);
        payload.resize(payload.size() + raw_pages * ram_page_size, std::byte{0x5a});
        send(FrameType::Pages, payload);
    }
    void end_round(uint32_t round, bool last = false) const
    {
        send(FrameType::RoundEnd, stream::encode(stream::RoundEnd{round, last}));
    }
    /// Whether the receiver has hung up.
    [[nodiscard]] bool is_closed() const
    {
        std::byte byte;
        return !channel->read_exact({&byte, 1});
    }
};

class RamReceiverTest : public ::testing::Test {
protected:
    RamReceiverTest() : ram_({{"ram0", 1100}, {"ram1", 70}}, true) {}

    void open(size_t channels, std::span<const RamBlock> blocks,
              std::chrono::milliseconds join_limit = std::chrono::seconds(10))
    {
        receiver_ = std::make_unique<RamReceiver>(
            blocks, nullptr, channels, allowed_, verify_,
            RamReceiver::Callbacks{
                .round_ended = [this](stream::RoundEnd end) { rounds_.push_back(end); },
                .failed = [this](Error error) { errors_.push_back(std::move(error)); },
            },
            join_limit);
    }
    void open(size_t channels = 2) { open(channels, ram_.blocks()); }

    DataChannel connect()
    {
        auto pair = socket_pair();
        EXPECT_TRUE(pair);
        receiver_->add_channel(std::move(pair->first), our_token);
        DataChannel end;
        end.channel = make_socket_channel(std::move(pair->second));
        end.writer = std::make_unique<stream::FrameWriter>(*end.channel);
        return end;
    }

    /// The far end of a connection that says nothing.
    UniqueFd connect_mute()
    {
        auto pair = socket_pair();
        EXPECT_TRUE(pair);
        receiver_->add_channel(std::move(pair->first), our_token);
        return std::move(pair->second);
    }
    /// While the loop turns, and sooner than by any limit in time but the test's.
    static bool hangs_up_on(const UniqueFd& end)
    {
        bool late = false;
        const auto guard = loop::after(std::chrono::seconds(5), [&] { late = true; });
        std::byte byte;
        return run_until([&] { return late || recv(end.get(), &byte, 1, MSG_DONTWAIT) == 0; }) &&
               !late;
    }

    void expect_protocol_error(const char* words)
    {
        ASSERT_TRUE(run_until([this] { return !errors_.empty(); }));
        EXPECT_EQ(errors_[0].kind, ErrorKind::Protocol) << errors_[0].text();
        EXPECT_NE(errors_[0].message.find(words), std::string::npos) << errors_[0].message;
        receiver_.reset();
        run_ready();
        EXPECT_EQ(errors_.size(), 1U) << "told more than once";
        EXPECT_TRUE(testing::is_untouched(ram_));
        EXPECT_TRUE(rounds_.empty());
    }

    testing::FakeRam ram_;
    stream::EncodingSet allowed_ = stream::all_encodings;
    bool verify_ = false;
    std::unique_ptr<RamReceiver> receiver_;
    std::vector<stream::RoundEnd> rounds_;
    std::vector<Error> errors_;
};

TEST_F(RamReceiverTest, PagesAreWrittenAndRoundsEndWhenAllChannelsHaveEndedThem)
{
    open();
    const DataChannel first = connect(), second = connect();
    first.join(0);
    second.join(1);
    first.send_pages({0, 1, 4096, {{3, 2, PageEncoding::Raw}}}, 2);
    first.end_round(1);
    first.send(FrameType::Commit, {}); // its error comes after all that was before it
    ASSERT_TRUE(run_until([this] { return !errors_.empty(); }));
    EXPECT_TRUE(rounds_.empty()) << "the other channel has not ended it";
    EXPECT_EQ(receiver_->pages_received(), 2U);
    Bytes got(2 * ram_page_size);
    ASSERT_TRUE(read_ram(ram_.blocks()[0], 3 * ram_page_size, got));
    EXPECT_TRUE(got == Bytes(2 * ram_page_size, std::byte{0x5a}));
}

/// As a source that packs sends them.
Bytes packed_payload(std::span<const std::byte> page, const Bytes& changed)
{
    Bytes payload;
    stream::encode_pages_table({0,
                                2,
                                4096,
                                {{1, 1, PageEncoding::Repeated},
                                 {2, 1, PageEncoding::Lz4},
                                 {3, 1, PageEncoding::Zstd},
                                 {5, 1, PageEncoding::Delta}}},
                               payload);
    stream::PagePacker packer;
    const auto add = [&](std::span<const std::byte> bytes) {
        payload.insert(payload.end(), bytes.begin(), bytes.end());
    };
    add(page.first(8));
    add(packer.pack_lz4(page));
    add(packer.pack_zstd(page, 1));
    stream::append_delta(changed.data(), 1, payload);
    return payload;
}

TEST_F(RamReceiverTest, PackedPagesAreWhatTheyWere)
{
    open(1);
    const DataChannel channel = connect();
    channel.join(0);
    channel.send_pages({0, 1, 4096, {{5, 1, PageEncoding::Raw}}}, 1);
    const Bytes page(ram_page_size, std::byte{0x77});
    Bytes changed(ram_page_size, std::byte{0x5a});
    changed[9] = std::byte{1};
    channel.send(FrameType::Pages, packed_payload(page, changed));
    channel.end_round(2);
    ASSERT_TRUE(run_until([this] { return !rounds_.empty() || !errors_.empty(); }));
    ASSERT_TRUE(errors_.empty()) << errors_[0].text();
    EXPECT_EQ(receiver_->pages_received(), 5U);
    Bytes got(ram_page_size);
    for (const uint64_t at : {1U, 2U, 3U, 5U}) {
        ASSERT_TRUE(read_ram(ram_.blocks()[0], at * ram_page_size, got));
        EXPECT_TRUE(got == (at == 5 ? changed : page)) << at;
    }
    // What was packed is there, and can be given back.
    channel.send_pages({0, 3, 4096, {{1, 5, PageEncoding::Zero}}}, 0);
    channel.end_round(3);
    ASSERT_TRUE(run_until([this] { return rounds_.back().round == 3 || !errors_.empty(); }));
    EXPECT_TRUE(testing::is_untouched(ram_));
}

TEST_F(RamReceiverTest, ADeltaToAnotherVersionIsRefused)
{
    open(1);
    const DataChannel channel = connect();
    channel.join(0);
    Bytes payload;
    stream::encode_pages_table({0, 1, 4096, {{5, 1, PageEncoding::Delta}}}, payload);
    stream::append_delta(Bytes(ram_page_size, std::byte{0x5a}).data(), 1, payload);
    channel.send(FrameType::Pages, payload);
    expect_protocol_error("a version that is not here");
}

TEST_F(RamReceiverTest, AnEncodingThatWasNotAgreedOn)
{
    allowed_ = stream::plain_encodings;
    open(1);
    const DataChannel channel = connect();
    channel.join(0);
    channel.send(FrameType::Pages, packed_payload(Bytes(ram_page_size), Bytes(ram_page_size)));
    expect_protocol_error("was not agreed on");
}

TEST_F(RamReceiverTest, ABlockThatHoldsOtherPages)
{
    open(1);
    const DataChannel channel = connect();
    channel.join(0);
    Bytes payload;
    stream::encode_pages_table(
        {0, 1, 4096, {{1, 1, PageEncoding::Repeated}, {2, 2, PageEncoding::Lz4}}}, payload);
    payload.resize(payload.size() + 8, std::byte{1});
    stream::PagePacker packer;
    const auto block = packer.pack_lz4(Bytes(ram_page_size));
    payload.insert(payload.end(), block.begin(), block.end());
    channel.send(FrameType::Pages, payload);
    expect_protocol_error("does not hold the pages");
}

TEST_F(RamReceiverTest, RoundsAreToldOnceAndInOrder)
{
    open();
    const DataChannel first = connect(), second = connect();
    second.join(1);
    first.join(0);
    first.end_round(1);
    first.end_round(2);
    second.end_round(1);
    second.end_round(2);
    first.end_round(3, true);
    second.end_round(3, true);
    ASSERT_TRUE(run_until([this] { return !rounds_.empty() && rounds_.back().last; }));
    for (size_t i = 1; i < rounds_.size(); ++i)
        EXPECT_LT(rounds_[i - 1].round, rounds_[i].round);
    EXPECT_EQ(rounds_.back().round, 3U);
}

TEST_F(RamReceiverTest, ZerosAndHolesGiveBackWhatWasThereAndElseDoNothing)
{
    open(1);
    const DataChannel channel = connect();
    channel.join(0);
    channel.send_pages({0, 1, 4096, {{0, 8, PageEncoding::Raw}, {100, 900, PageEncoding::Zero}}},
                       8);
    channel.send_pages({0, 1, 4096, {{2, 2, PageEncoding::Zero}, {6, 1094, PageEncoding::Hole}}},
                       0);
    channel.end_round(1, true);
    ASSERT_TRUE(run_until([this] { return !rounds_.empty(); }));
    std::vector<std::pair<uint64_t, uint64_t>> data;
    EXPECT_TRUE(for_each_data(ram_.blocks()[0], 0, 1100, [&](uint64_t page, uint64_t count) {
        data.emplace_back(page, count);
    }));
    EXPECT_EQ(data, (std::vector<std::pair<uint64_t, uint64_t>>{{0, 2}, {4, 2}}));
}

// A data channel of ours, and what it may not do.

struct Hostile {
    const char* name;
    stream::PagesTable table;
    uint64_t raw_pages;
    const char* words;
};

class HostilePages : public RamReceiverTest, public ::testing::WithParamInterface<Hostile> {};

// Two channels: of block 0 channel 0 has stripes 0 and 2, channel 1 stripe 1.
INSTANTIATE_TEST_SUITE_P(
    Each, HostilePages,
    ::testing::Values(
        Hostile{"BlockTooHigh", {2, 1, 4096, {{0, 1, PageEncoding::Raw}}}, 1, "RAM block 2"},
        Hostile{"BlockFarTooHigh", {~0U, 1, 4096, {{0, 1, PageEncoding::Raw}}}, 1, "RAM block"},
        Hostile{"PageSize", {0, 1, 8192, {{0, 1, PageEncoding::Raw}}}, 2, "8192"},
        Hostile{"PagePastTheEnd",
                {0, 1, 4096, {{1100, 1, PageEncoding::Raw}}},
                1,
                "past the end of RAM block ram0"},
        Hostile{"RunPastTheEnd", {0, 1, 4096, {{1098, 3, PageEncoding::Raw}}}, 3, "past the end"},
        Hostile{"ZerosPastTheEnd",
                {0, 1, 4096, {{1024, 4'000'000'000U, PageEncoding::Zero}}},
                0,
                "past the end"},
        Hostile{"PageNearTheEndOfNumbers",
                {0, 1, 4096, {{~0ULL - 8, 4, PageEncoding::Hole}}},
                0,
                "beyond any address"},
        Hostile{"RunThatWrapsAround", {0, 1, 4096, {{~0ULL - 1, 4, PageEncoding::Hole}}}, 0, ""},
        Hostile{
            "AnotherChannelsStripe", {0, 1, 4096, {{512, 1, PageEncoding::Raw}}}, 1, "not its own"},
        Hostile{"IntoAnotherChannelsStripe",
                {0, 1, 4096, {{511, 2, PageEncoding::Raw}}},
                2,
                "not its own"},
        Hostile{"AcrossAnotherChannelsStripe",
                {0, 1, 4096, {{0, 1100, PageEncoding::Zero}}},
                0,
                "not its own"},
        Hostile{
            "AnotherChannelsBlock", {1, 1, 4096, {{0, 1, PageEncoding::Raw}}}, 1, "not its own"},
        Hostile{"OneBadRunAmongGoodOnes",
                {0, 1, 4096, {{0, 1, PageEncoding::Raw}, {1200, 1, PageEncoding::Raw}}},
                2,
                "past the end"},
        Hostile{"LessDataThanSaid", {0, 1, 4096, {{0, 2, PageEncoding::Raw}}}, 1, ""},
        Hostile{"MoreDataThanSaid", {0, 1, 4096, {{0, 1, PageEncoding::Raw}}}, 2, ""}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(HostilePages, AreAProtocolErrorAndNothingIsWritten)
{
    open();
    const DataChannel channel = connect();
    channel.join(0);
    channel.send_pages(GetParam().table, GetParam().raw_pages);
    expect_protocol_error(GetParam().words);
}

TEST_F(RamReceiverTest, AnIndexThatComesTwice)
{
    open();
    const DataChannel first = connect(), second = connect();
    first.join(0);
    second.join(0);
    expect_protocol_error("data channel 0 came twice");
}

TEST_F(RamReceiverTest, AnIndexThatIsTooHigh)
{
    open();
    const DataChannel channel = connect();
    channel.join(2);
    expect_protocol_error("too many");
}

TEST_F(RamReceiverTest, AFrameThatBelongsElsewhere)
{
    open();
    const DataChannel channel = connect();
    channel.join(0);
    channel.send(FrameType::Commit, {});
    expect_protocol_error("a data channel carried Commit");
}

TEST_F(RamReceiverTest, ABrokenFrame)
{
    open();
    const DataChannel channel = connect();
    channel.join(0);
    std::array<std::byte, stream::header_size> garbage{};
    const iovec piece{garbage.data(), garbage.size()};
    ASSERT_TRUE(channel.channel->write_all({&piece, 1}));
    expect_protocol_error("");
}

TEST_F(RamReceiverTest, AChannelThatBreaksIsToldAsSuch)
{
    open();
    DataChannel channel = connect();
    channel.join(0);
    channel.channel.reset();
    ASSERT_TRUE(run_until([this] { return !errors_.empty(); }));
    EXPECT_EQ(errors_[0].kind, ErrorKind::Connection);
}

// A stranger cannot name the session: it is turned away, and nobody else is disturbed.

TEST_F(RamReceiverTest, AWrongTokenIsTurnedAwayAndTheMigrationGoesOn)
{
    open(1);
    const DataChannel stranger = connect();
    stranger.join(0, {std::byte{9}});
    EXPECT_TRUE(stranger.is_closed());
    const DataChannel hasty = connect();
    hasty.send_pages({0, 1, 4096, {{0, 1, PageEncoding::Raw}}}, 1);
    EXPECT_TRUE(hasty.is_closed());
    const DataChannel mute = connect();
    const DataChannel ours = connect();
    ours.join(0);
    ours.end_round(1);
    ASSERT_TRUE(run_until([this] { return !rounds_.empty() || !errors_.empty(); }));
    EXPECT_TRUE(errors_.empty());
    EXPECT_TRUE(testing::is_untouched(ram_));
}

TEST_F(RamReceiverTest, AFloodOfStrangersDoesNotKeepTheSourceOut)
{
    open(1);
    const UniqueFd first = connect_mute();
    std::vector<DataChannel> flood;
    for (int i = 0; i < 200; ++i)
        flood.push_back(connect());
    EXPECT_TRUE(hangs_up_on(first)) << "each holds a thread";
    const DataChannel ours = connect();
    ours.join(0);
    ours.end_round(1);
    ASSERT_TRUE(run_until([this] { return !rounds_.empty() || !errors_.empty(); }));
    EXPECT_TRUE(errors_.empty());
}

TEST_F(RamReceiverTest, WhoSaysNothingIsDroppedAfterAWhile)
{
    open(1, ram_.blocks(), std::chrono::milliseconds(20));
    const DataChannel ours = connect();
    ours.join(0);
    EXPECT_TRUE(hangs_up_on(connect_mute()));
    ours.end_round(1);
    ASSERT_TRUE(run_until([this] { return !rounds_.empty() || !errors_.empty(); }));
    EXPECT_TRUE(errors_.empty()) << "who has joined stays";
}

TEST_F(RamReceiverTest, AFullHostIsToldInWords)
{
    const testing::SmallTmpfs tmpfs(16 * ram_page_size);
    if (!tmpfs)
        GTEST_SKIP() << tmpfs.why_not();
    std::vector<RamBlock> blocks;
    blocks.push_back({"ram", 512 * ram_page_size, ram_page_size, tmpfs.file("ram")});
    ASSERT_EQ(ftruncate(blocks[0].file.get(), static_cast<off_t>(blocks[0].size)), 0);
    open(1, blocks);
    const DataChannel channel = connect();
    channel.join(0);
    channel.send_pages({0, 1, 4096, {{0, 64, PageEncoding::Raw}}}, 64);
    ASSERT_TRUE(run_until([this] { return !errors_.empty(); }));
    EXPECT_EQ(errors_[0].kind, ErrorKind::System);
    EXPECT_NE(errors_[0].message.find("memory behind RAM block ram"), std::string::npos);
    EXPECT_NE(errors_[0].message.find("is full"), std::string::npos);
    EXPECT_NE(errors_[0].hint.find("free memory on the destination host"), std::string::npos);
    receiver_.reset(); // before its blocks
}

} // namespace
} // namespace drover
