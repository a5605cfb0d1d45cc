// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/resume.h"

#include <gtest/gtest.h>

namespace drover::stream {
namespace {

const char* const golden =
    "f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff 05 00 00 00 02 00 00 00 "
    "07 00 00 00 00 00 00 00 02 01 00 00 00 00 00 00";

ResumePoint point()
{
    ResumePoint point{.round = 5, .frames = {7, 258}};
    for (size_t i = 0; i < point.join.size(); ++i)
        point.join[i] = static_cast<std::byte>(0xf0 + i);
    return point;
}

TEST(ResumePoint, BytesAreFrozen)
{
    EXPECT_EQ(to_hex(encode(point())), golden);
    EXPECT_EQ(decode_resume_point(hex(golden)), point());
}

TEST(ResumePoint, IsWholeOrRefused)
{
    const Bytes whole = hex(golden);
    for (size_t size = 0; size < whole.size(); ++size)
        EXPECT_FALSE(decode_resume_point(std::span(whole).first(size))) << size;
    Bytes longer = whole;
    longer.resize(whole.size() + 8);
    EXPECT_FALSE(decode_resume_point(longer));
    Bytes none = whole;
    none.resize(24);
    none[20] = std::byte{0};
    EXPECT_FALSE(decode_resume_point(none)) << "there is always one channel";
}

} // namespace
} // namespace drover::stream
