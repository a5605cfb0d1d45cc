// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/json.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

std::string error_of(std::string_view text)
{
    const auto value = parse_json(text);
    return value ? "" : value.error().message;
}

TEST(Json, BuildsTheWholeValue)
{
    const std::string text =
        R"({"a":[1,-2,2.5,true,null,{"b":[]},"x"],"c":{"d":18446744073709551615}})";
    const auto value = parse_json(text);
    ASSERT_TRUE(value);
    EXPECT_EQ(dump_json(*value), text);
}

TEST(Json, ErrorSaysWhere)
{
    const auto value = parse_json("{\"a\":\n 1 x}");
    ASSERT_FALSE(value);
    EXPECT_EQ(value.error().kind, ErrorKind::Protocol);
    EXPECT_TRUE(value.error().message.starts_with("JSON parse error, line 2, column 4: "))
        << value.error().message;
}

TEST(Json, RefusesWhatIsNotOneValue)
{
    for (const char* text : {"", "  ", "{", "{}{}", "[1,]", "{\"a\"}", "1e999", "nul", "\"\xff\""})
        EXPECT_FALSE(parse_json(text)) << text;
}

TEST(Json, RefusesDuplicateKeys)
{
    EXPECT_EQ(error_of(R"({"a":1,"b":{"a":2},"a":3})"), "JSON parse error, duplicate key 'a'");
}

TEST(Json, NestingIsLimitedTo1024)
{
    EXPECT_TRUE(parse_json(std::string(1024, '[') + std::string(1024, ']')));
    EXPECT_EQ(error_of(std::string(1025, '[') + std::string(1025, ']')),
              "JSON parse error, nested deeper than 1,024 levels");
    EXPECT_FALSE(parse_json(std::string(10'000'000, '[')));
}

TEST(Json, NumberOfValuesIsLimited)
{
    std::string text = "[";
    for (int i = 0; i < (2 << 20); ++i)
        text += "0,";
    EXPECT_EQ(error_of(text + "0]"), "JSON parse error, more than 2,097,152 values");
}

TEST(Json, ErrorQuotesHugeOrBinaryInputShortAndPrintable)
{
    const std::string message = error_of("\"" + std::string(100'000, '\x01') + "\n");
    EXPECT_LT(message.size(), 300U);
    for (const char c : error_of("\"abc\xff\xfe\""))
        EXPECT_TRUE(c >= ' ' && c <= '~');
}

TEST(Json, DumpReplacesWhatIsNotUtf8)
{
    EXPECT_EQ(dump_json(Json{{"a", "x\xffy"}}), "{\"a\":\"x\xef\xbf\xbdy\"}");
}

TEST(Json, TypedMembersFallBack)
{
    const Json object = {{"s", "text"}, {"n", 7U},  {"signed", 8},
                         {"minus", -1}, {"f", 1.5}, {"b", true}};
    EXPECT_EQ(json_string(object, "s"), "text");
    EXPECT_EQ(json_string(object, "n", "else"), "else");
    EXPECT_EQ(json_u64(object, "n"), 7U);
    EXPECT_EQ(json_u64(object, "signed"), 8U);
    EXPECT_EQ(json_u64(object, "minus", 3), 3U);
    EXPECT_EQ(json_u64(object, "f", 3), 3U);
    EXPECT_EQ(json_quantity(object, "f"), 1.5);
    EXPECT_EQ(json_quantity(object, "minus", 3), 3);
    EXPECT_EQ(json_quantity(object, "none", 3), 3);
    EXPECT_EQ(json_quantity(Json::array(), "f"), 0);
    EXPECT_TRUE(json_bool(object, "b"));
    EXPECT_TRUE(json_bool(object, "none", true));
    EXPECT_EQ(json_string(Json::array(), "s", "else"), "else");
}

} // namespace
} // namespace drover
