// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/xen_state.h"

#include "vmm/xen/state/xen_machine.h"
#include "xen_bytes.h"

#include <gtest/gtest.h>
#include <map>
#include <random>

namespace drover::xen {
namespace {

using drover::testing::legal_context;
using drover::testing::small_model;
using drover::testing::small_xen_file;
using drover::testing::xen_file;
using drover::testing::XenBytes;
using drover::testing::XenFileOptions;

std::string complaint_of(const std::string& text)
{
    const MemoryBytes source(std::as_bytes(std::span(text)));
    const auto state = read_xen_state(source);
    return state ? "none" : state.error().text();
}

std::string complaint_with(const XenFileOptions& options)
{
    return complaint_of(xen_file(legal_context(1, 1), small_model(), options));
}

TEST(XenStateTest, TellsWhatAFileHolds)
{
    const std::string text = small_xen_file();
    const MemoryBytes source(std::as_bytes(std::span(text)));
    EXPECT_TRUE(is_xen_save(source));
    const auto state = read_xen_state(source);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ(state->config["c_info"]["name"], "small");
    EXPECT_EQ(state->xen_minor, 17U);
    ASSERT_TRUE(state->tsc);
    EXPECT_EQ(state->tsc->mode, 2U);
    ASSERT_EQ(state->params.size(), 1U);
    EXPECT_EQ(state->params[0].value, 0xfeffcU);
    EXPECT_EQ(state->hvm.records.size(), legal_context(1, 1).records.size());
    ASSERT_EQ(state->model.size(), 9U);
    EXPECT_EQ(state->model[5].name, "0000:00:01.0/PIIX3");
    EXPECT_EQ(state->model[5].bytes.size(), 292U);
}

TEST(XenStateTest, OfAPageTheLastContentsCount)
{
    const std::string text = small_xen_file();
    const MemoryBytes source(std::as_bytes(std::span(text)));
    const auto state = read_xen_state(source);
    ASSERT_TRUE(state) << state.error().text();
    const XenPages pages(*state, source);
    ASSERT_EQ(pages.ranges().size(), 2U);
    EXPECT_EQ(pages.ranges()[0].count, 2U);
    EXPECT_EQ(pages.ranges()[1].first, 9U);
    std::array<std::byte, state::frame_size> page = {};
    ASSERT_TRUE(pages.read(0, page));
    EXPECT_EQ(page[4095], std::byte{'a'});
    ASSERT_TRUE(pages.read(1, page));
    EXPECT_EQ(page[0], std::byte{'b'});
    ASSERT_TRUE(pages.read(9, page));
    EXPECT_EQ(page[0], std::byte{0});
    EXPECT_TRUE(pages.is_zero(9));
    EXPECT_FALSE(pages.is_zero(5));
    EXPECT_FALSE(pages.read(5, page));
}

TEST(XenStateTest, SaysWhatItDoesNotRead)
{
    EXPECT_NE(complaint_of("QEVM").find("cut off"), std::string::npos);
    EXPECT_NE(complaint_of(std::string(64, 'x')).find("no file of `xl save`"), std::string::npos);
    EXPECT_NE(complaint_with({.mandatory = 1}).find("legacy format"), std::string::npos);
    EXPECT_NE(complaint_with({.mandatory = 7}).find("asks for"), std::string::npos);
    EXPECT_NE(complaint_with({.libxl_options = 2}).find("legacy format"), std::string::npos);
    EXPECT_NE(complaint_with({.guest_type = 1}).find("PV guest"), std::string::npos);
    EXPECT_NE(complaint_with({.config = "{"}).find("configuration"), std::string::npos);
    const auto with = [](uint32_t type, const std::string& body) {
        return complaint_with({.more_libxc = XenBytes().record(type, body).text()});
    };
    EXPECT_NE(with(0x77, "").find("type 119"), std::string::npos);
    EXPECT_EQ(with(0x80000077, "optional"), "none");
    EXPECT_NE(with(14, "").find("replicated"), std::string::npos);
    EXPECT_NE(
        with(1, XenBytes().little(8, 1).little(8, uint64_t{6} << 60).text()).find("cannot be"),
        std::string::npos);
    EXPECT_NE(with(1, XenBytes().little(8, 1).little(8, uint64_t{0xd} << 60).text()).find("broken"),
              std::string::npos);
    EXPECT_NE(with(1, XenBytes().little(8, 1).little(8, 3).text()).find("form"), std::string::npos);
    EXPECT_NE(with(1, XenBytes().little(8, 1u << 20).little(8, 3).text()).find("form"),
              std::string::npos);
}

TEST(XenStateTest, AFileThatIsCutOffIsNone)
{
    const std::string whole = small_xen_file();
    const size_t pages = whole.find("aaaa");
    const size_t behind = whole.rfind("bbbb");
    ASSERT_LT(pages, behind);
    for (size_t size = 0; size<whole.size(); size += size> pages && size < behind ? 61 : 1)
        ASSERT_NE(complaint_of(whole.substr(0, size)), "none") << size;
    EXPECT_EQ(complaint_of(whole), "none");
}

TEST(ModelSectionsTest, AGuestCannotForgeADevice)
{
    auto model = small_model();
    // In the clock's memory, which a guest writes as it likes, a section's header.
    const std::string forged =
        XenBytes().big(1, 4).big(4, 10).big(1, 6).raw("forged").big(8, 1).text();
    auto& cmos = model[6].bytes;
    std::ranges::copy(std::as_bytes(std::span(forged)), cmos.begin() + 20);
    const auto split = split_model(join_model(model));
    ASSERT_TRUE(split) << split.error().text();
    EXPECT_EQ(split->size(), model.size());
    EXPECT_EQ((*split)[6].bytes, cmos);
    // In a device whose length is not known it is ambiguous.
    auto& cpu = model[1].bytes;
    const std::string header =
        XenBytes().big(1, 4).big(4, 5).big(1, 6).raw("forged").big(8, 1).text();
    std::ranges::copy(std::as_bytes(std::span(header)), cpu.begin() + 20);
    const auto refused = split_model(join_model(model));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::Refused);
}

TEST(ModelSectionsTest, ManyFormsAreRefused)
{
    const auto bytes = join_model(small_model());
    for (size_t size = 0; size < bytes.size(); ++size)
        (void)split_model(std::span(bytes).first(size));
    auto wrong = small_model();
    wrong[7].bytes.resize(10); // serial
    EXPECT_FALSE(split_model(join_model(wrong)));
    EXPECT_FALSE(split_model({}));
}

TEST(PageIndexTest, IsAsIfEachFrameWereKeptApart)
{
    std::mt19937_64 random(7);
    PageIndex index;
    std::map<uint64_t, uint64_t> expected; // place, 0: zeroes
    for (int step = 1; step < 2000; ++step) {
        const uint64_t first = random() % 200;
        const uint64_t count = 1 + random() % 30;
        const uint64_t at = static_cast<uint64_t>(step) << 24;
        switch (random() % 3) {
        case 0:
            index.put(first, count, at);
            for (uint64_t i = 0; i < count; ++i)
                expected[first + i] = at + i * state::frame_size;
            break;
        case 1:
            index.put_empty(first, count);
            for (uint64_t i = 0; i < count; ++i)
                expected.try_emplace(first + i, 0);
            break;
        default:
            index.remove(first, count);
            for (uint64_t i = 0; i < count; ++i)
                expected.erase(first + i);
        }
        ASSERT_EQ(index.count(), expected.size());
        for (uint64_t frame = 0; frame < 240; ++frame) {
            const auto own = expected.find(frame);
            ASSERT_EQ(index.has(frame), own != expected.end()) << frame;
            ASSERT_EQ(index.find(frame).value_or(0), own != expected.end() ? own->second : 0);
        }
    }
}

} // namespace
} // namespace drover::xen
