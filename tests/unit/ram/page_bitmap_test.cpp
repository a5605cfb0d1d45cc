// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/page_bitmap.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

namespace drover {
namespace {

using Model = std::vector<bool>;

uint64_t model_next(const Model& model, bool value, uint64_t from, uint64_t end)
{
    while (from < end && model[from] != value)
        ++from;
    return from;
}

void expect_same(const PageBitmap& bitmap, const Model& model)
{
    for (uint64_t page = 0; page < model.size(); ++page)
        ASSERT_EQ(bitmap.test(page), model[page]) << page;
    ASSERT_EQ(bitmap.count(), uint64_t(std::count(model.begin(), model.end(), true)));
}

/// One random change or question, of both.
void one_step(PageBitmap& bitmap, Model& model, std::mt19937_64& random)
{
    uint64_t first = random() % (model.size() + 1);
    uint64_t end = random() % (model.size() + 1);
    if (first > end)
        std::swap(first, end);
    const auto from = model.begin() + static_cast<ptrdiff_t>(first);
    const auto to = model.begin() + static_cast<ptrdiff_t>(end);
    switch (random() % 7) {
    case 0:
        bitmap.set_range(first, end - first);
        std::fill(from, to, true);
        break;
    case 1:
        bitmap.clear_range(first, end - first);
        std::fill(from, to, false);
        break;
    case 2:
        if (first < model.size()) {
            bitmap.set(first);
            model[first] = true;
        }
        break;
    case 3:
        if (first < model.size()) {
            bitmap.clear(first);
            model[first] = false;
        }
        break;
    case 4: ASSERT_EQ(bitmap.count(first, end), uint64_t(std::count(from, to, true))); break;
    case 5: ASSERT_EQ(bitmap.next_set(first, end), model_next(model, true, first, end)); break;
    case 6: ASSERT_EQ(bitmap.next_clear(first, end), model_next(model, false, first, end)); break;
    }
}

TEST(PageBitmap, BehavesAsAVectorOfBool)
{
    std::mt19937_64 random(42);
    for (const uint64_t size : {0, 1, 63, 64, 65, 127, 128, 200, 1000}) {
        PageBitmap bitmap(size);
        Model model(size);
        ASSERT_EQ(bitmap.size(), size);
        for (int step = 0; step < 4000; ++step)
            ASSERT_NO_FATAL_FAILURE(one_step(bitmap, model, random)) << size << ", step " << step;
        ASSERT_NO_FATAL_FAILURE(expect_same(bitmap, model)) << size;
    }
}

TEST(PageBitmap, EveryRangeOfAFewWords)
{
    constexpr uint64_t size = 130;
    for (uint64_t first = 0; first <= size; ++first) {
        for (uint64_t end = first; end <= size; ++end) {
            PageBitmap bitmap(size);
            bitmap.set_range(first, end - first);
            ASSERT_EQ(bitmap.count(), end - first);
            ASSERT_EQ(bitmap.next_set(0, size), first == end ? size : first);
            ASSERT_EQ(bitmap.next_clear(first, size), end);
            bitmap.clear_range(first, end - first);
            ASSERT_EQ(bitmap.count(), 0U);
        }
    }
}

TEST(PageBitmap, OfNothing)
{
    const PageBitmap bitmap;
    EXPECT_EQ(bitmap.size(), 0U);
    EXPECT_EQ(bitmap.count(), 0U);
    EXPECT_EQ(bitmap.next_set(0, 0), 0U);
}

} // namespace
} // namespace drover
