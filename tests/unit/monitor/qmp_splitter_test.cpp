// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_splitter.h"

#include <gtest/gtest.h>
#include <vector>

namespace drover {
namespace {

using Kind = QmpSplitter::Item::Kind;

/// Values as they are, garbage as "!".
std::vector<std::string> split(std::string_view input, size_t chunk = 1)
{
    QmpSplitter splitter;
    std::vector<std::string> found;
    for (size_t at = 0; at < input.size(); at += chunk) {
        splitter.feed(input.substr(at, chunk));
        while (auto item = splitter.next())
            found.push_back(item->kind == Kind::Value ? item->text : "!");
    }
    return found;
}

using Strings = std::vector<std::string>;

TEST(QmpSplitter, NeedsNoNewlines)
{
    const std::string input = R"({"a":1}{"b":[{}]} [1] "x"{"c":2})";
    const Strings expected = {R"({"a":1})", R"({"b":[{}]})", "[1]", "\"x\"", R"({"c":2})"};
    for (const size_t chunk : {1U, 2U, 5U, 100U})
        EXPECT_EQ(split(input, chunk), expected) << chunk;
}

TEST(QmpSplitter, ValueMaySpanLines)
{
    EXPECT_EQ(split("{\n\"a\":\r\n1\n}\n"), Strings{"{\n\"a\":\r\n1\n}"});
}

TEST(QmpSplitter, BracketsAndQuotesInStringsDoNotCount)
{
    const std::string input = R"({"}":"]\"}\\"})";
    EXPECT_EQ(split(input), Strings{input});
}

TEST(QmpSplitter, BareWordEndsAtABlankOrABracket)
{
    EXPECT_EQ(split("12 null{}true "), (Strings{"12", "null", "{}", "true"}));
    EXPECT_EQ(split("12"), Strings{});
}

TEST(QmpSplitter, SingleQuotesBecomeDouble)
{
    EXPECT_EQ(split(R"({'a':'it\'s "so" \\ \n', "b":"it's \' \""})"),
              Strings{R"({"a":"it's \"so\" \\ \n", "b":"it's \' \""})"});
}

TEST(QmpSplitter, ResumesOnTheNextLineAfterGarbage)
{
    EXPECT_EQ(split("} junk {\"a\":1}\n{\"b\":2}"), (Strings{"!", "{\"b\":2}"}));
    EXPECT_EQ(split("{\"a\":\"forgotten}\n{\"b\":2}"), (Strings{"!", "{\"b\":2}"}));
    EXPECT_EQ(split(std::string(1025, '[') + "\n{\"b\":2}"), (Strings{"!", "{\"b\":2}"}));
    EXPECT_EQ(split(",\n:\n{}"), (Strings{"!", "!", "{}"}));
}

TEST(QmpSplitter, OffsetsCountTheStream)
{
    QmpSplitter splitter;
    splitter.feed("  {} \n");
    EXPECT_EQ(splitter.next_begin(), 2U);
    EXPECT_EQ(splitter.next()->end, 4U);
    EXPECT_EQ(splitter.next_begin(), 6U);
    splitter.feed("[1");
    EXPECT_EQ(splitter.next_begin(), 6U);
    EXPECT_FALSE(splitter.next());
    EXPECT_EQ(splitter.next_begin(), 6U);
    splitter.feed("] 5 ");
    EXPECT_EQ(splitter.next()->end, 9U);
    EXPECT_EQ(splitter.next()->end, 11U);
}

TEST(QmpSplitter, MoreThan64MiBIsTooBig)
{
    const std::string chunk(1 << 20, 'x');
    QmpSplitter splitter;
    splitter.feed("\"");
    for (int i = 0; i < 63; ++i) {
        splitter.feed(chunk);
        ASSERT_FALSE(splitter.next());
    }
    splitter.feed(chunk);
    const auto item = splitter.next();
    ASSERT_TRUE(item);
    EXPECT_EQ(item->kind, Kind::TooBig);
}

} // namespace
} // namespace drover
