// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/ram/sent_hashes.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(SentHashes, TellWhatDiffersFromWhatWasNoted)
{
    auto hashes = SentHashes::create();
    ASSERT_TRUE(hashes);
    ASSERT_TRUE(hashes->keep_for(1, 10));
    EXPECT_FALSE(hashes->keeps(0));
    EXPECT_TRUE(hashes->keeps(1));
    EXPECT_FALSE(hashes->keeps(2));
    std::vector<std::byte> page(ram_page_size);
    EXPECT_FALSE(hashes->note(1, 9, page.data())) << "nothing was noted";
    EXPECT_TRUE(hashes->is_same(1, 9, page.data()));
    EXPECT_FALSE(hashes->is_same(1, 8, page.data()));
    for (const size_t at : {size_t{0}, ram_page_size / 2, ram_page_size - 1}) {
        page[at] ^= std::byte{1};
        EXPECT_FALSE(hashes->is_same(1, 9, page.data()));
        EXPECT_FALSE(hashes->note(1, 9, page.data()));
        EXPECT_TRUE(hashes->note(1, 9, page.data()));
    }
}

} // namespace
} // namespace drover
