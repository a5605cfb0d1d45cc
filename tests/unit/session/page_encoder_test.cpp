// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_ram.h"
#include "migration/ram/ram_block.h"
#include "migration/session/page_encoder.h"
#include "migration/stream/page_delta.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using enum stream::PageEncoding;
using stream::Bytes;

constexpr size_t frame_pages = 128;

/// Every page says the same but for a number: it becomes a tenth.
Bytes compressible()
{
    Bytes pages(frame_pages * ram_page_size);
    for (size_t i = 0; i < pages.size(); ++i)
        pages[i] = static_cast<std::byte>(i % ram_page_size < 512 ? i / ram_page_size + 1 : i % 64);
    return pages;
}

Bytes incompressible()
{
    Bytes pages;
    for (uint64_t i = 0; i < frame_pages; ++i) {
        const Bytes page = testing::page_content(i);
        pages.insert(pages.end(), page.begin(), page.end());
    }
    return pages;
}

class PageEncoderTest : public ::testing::Test {
protected:
    void open(const EncodingBounds& bounds = {.allowed = stream::all_encodings})
    {
        const std::vector<uint64_t> pages{4096};
        encoder_ = std::make_unique<PageEncoder>(bounds, pages, 1, counters_);
    }
    /// Shows it a link that takes so long for each frame's bytes.
    void show_link(double bytes_s, unsigned frames = 64)
    {
        constexpr uint64_t bytes = frame_pages * ram_page_size;
        for (unsigned i = 0; i < frames; ++i)
            encoder_->sent(bytes, bytes / bytes_s);
    }
    std::optional<stream::PageEncoding> encode(uint64_t page, const Bytes& data, uint32_t round,
                                               bool has = true)
    {
        return encoder_->encode(0, page, data.data(), has, round);
    }

    EncodingCounters counters_;
    std::unique_ptr<PageEncoder> encoder_;
};

TEST_F(PageEncoderTest, OnAFastLinkPagesGoAsTheyAre)
{
    open();
    show_link(20e9);
    const Bytes pages = compressible();
    for (int i = 0; i < 20; ++i) {
        const auto packed = encoder_->pack(pages);
        EXPECT_EQ(packed.encoding, Raw);
        EXPECT_EQ(packed.section.data(), pages.data());
    }
    EXPECT_EQ(counters_.totals().cpu_s, 0) << "it has not even tried";
    EXPECT_EQ(encode(1, testing::page_content(1), 1), Raw);
    EXPECT_EQ(encode(1, testing::page_content(1), 2), Raw) << "no versions are kept";
}

TEST_F(PageEncoderTest, OnASlowLinkWhatGetsSmallerIsPacked)
{
    open();
    show_link(1e6);
    const Bytes pages = compressible();
    const auto packed = encoder_->pack(pages);
    EXPECT_NE(packed.encoding, Raw);
    EXPECT_LT(packed.section.size(), pages.size() / 4);
    EXPECT_EQ(encoder_->pack(incompressible()).encoding, Raw);
    EXPECT_NE(encoder_->pack(pages).encoding, Raw) << "each frame is judged by itself";
    const auto totals = counters_.totals();
    EXPECT_EQ(totals.of(Raw).pages, frame_pages);
    EXPECT_EQ(totals.of(Lz4).pages + totals.of(Zstd).pages, 2 * frame_pages);
    EXPECT_GT(totals.cpu_s, 0);
}

TEST_F(PageEncoderTest, WhatIsPackedComesOutAgain)
{
    open({.allowed = {Raw, Zstd}});
    show_link(1e6);
    const Bytes pages = compressible();
    const auto packed = encoder_->pack(pages);
    ASSERT_EQ(packed.encoding, Zstd);
    Bytes payload;
    stream::encode_pages_table({0, 1, ram_page_size, {{0, frame_pages, Zstd}}}, payload);
    payload.insert(payload.end(), packed.section.begin(), packed.section.end());
    const auto view = stream::decode_pages(payload, stream::all_encodings);
    ASSERT_TRUE(view) << view.error().text();
    stream::PageUnpacker unpacker;
    const auto runs = unpacker.unpack(*view);
    ASSERT_TRUE(runs);
    EXPECT_TRUE(std::ranges::equal((*runs)[0].bytes, pages));
}

TEST_F(PageEncoderTest, ARepeatedWordIsOneWord)
{
    open();
    Bytes page(ram_page_size, std::byte{0xa5});
    EXPECT_EQ(encode(1, page, 1, false), Repeated);
    EXPECT_EQ(encoder_->repeated().size(), 8U);
    page[4095] = std::byte{0};
    EXPECT_EQ(encode(2, page, 1, false), Raw);
    encoder_->sent(100, 0);
    EXPECT_TRUE(encoder_->repeated().empty());
    open({.allowed = stream::plain_encodings});
    EXPECT_EQ(encode(3, Bytes(ram_page_size, std::byte{0xa5}), 1, false), Raw);
}

TEST_F(PageEncoderTest, APageThatChangedLittleIsADelta)
{
    open();
    const Bytes older = testing::page_content(1);
    Bytes newer = older;
    newer[100] ^= std::byte{1};
    EXPECT_EQ(encode(1, older, 1, false), Raw);
    EXPECT_LT(encoder_->expected_bytes(0, 1, newer.data()), 100);
    EXPECT_GT(encoder_->expected_bytes(0, 2, newer.data()), 4096);
    EXPECT_EQ(encode(1, newer, 2), Delta);
    Bytes made = older;
    EXPECT_TRUE(stream::apply_delta(encoder_->deltas(), made.data()));
    EXPECT_EQ(made, newer);
    EXPECT_EQ(encode(1, newer, 3), std::nullopt) << "the destination has just this";
    EXPECT_EQ(encode(1, testing::page_content(2), 4), Raw) << "all of it has changed";
}

TEST_F(PageEncoderTest, WhatTheDestinationLacksIsNoDelta)
{
    open();
    const Bytes page = testing::page_content(1);
    EXPECT_EQ(encode(1, page, 1, false), Raw);
    EXPECT_EQ(encode(1, page, 2, false), Raw) << "a hole there";
    encoder_->forget(0, 1);
    EXPECT_EQ(encode(1, page, 3), Raw) << "it was made zero";
    EXPECT_EQ(counters_.totals().delta_misses, 1U);
}

TEST_F(PageEncoderTest, AVersionThatWasNotNotedIsForgotten)
{
    open();
    const Bytes older = testing::page_content(1);
    EXPECT_EQ(encode(1, older, 1, false), Raw);
    show_link(20e9);
    EXPECT_EQ(encode(1, testing::page_content(2), 2), Raw);
    show_link(1e6);
    EXPECT_EQ(encode(1, older, 3), Raw) << "the destination has another version";
}

} // namespace
} // namespace drover
