// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/json_cursor.h"

#include "monitor/json.h"

#include <gtest/gtest.h>
#include <vector>

namespace drover {
namespace {

/// What a text holds, taken piece by piece and built anew.
Json rebuilt(JsonCursor& cursor)
{
    std::string_view key;
    if (cursor.begin_object()) {
        Json object = Json::object();
        while (cursor.next_member(key)) {
            const std::string name(key);
            object[name] = rebuilt(cursor);
        }
        return object;
    }
    if (cursor.begin_array()) {
        Json list = Json::array();
        while (cursor.next_element())
            list.push_back(rebuilt(cursor));
        return list;
    }
    if (const auto text = cursor.text())
        return std::string(*text);
    return nullptr;
}

TEST(JsonCursor, GoesThroughAllOfIt)
{
    const std::string text = R"( {"a" : ["x", [], {}, ["y"]],
        "b": {"c": "d\n\u00e4\"", "": "\\"}, "e": "ä"} )";
    JsonCursor cursor(text);
    const Json seen = rebuilt(cursor);
    cursor.expect_end();
    ASSERT_TRUE(cursor.status()) << cursor.status().error().text();
    EXPECT_EQ(seen, Json::parse(text));
}

TEST(JsonCursor, TakesWhatIsWantedAndPassesOverTheRest)
{
    JsonCursor cursor(R"({"size": 18446744073709551615, "more": [1, -2.5e3, true, {"a": null}],
        "name": "n", "not-a-number": "1", "below": -1, "fraction": 1.0, "last": 7})");
    ASSERT_TRUE(cursor.begin_object());
    std::vector<std::string> keys;
    std::vector<std::optional<uint64_t>> numbers;
    std::string_view key;
    while (cursor.next_member(key)) {
        keys.emplace_back(key);
        if (key == "more")
            cursor.skip();
        else if (key == "name")
            EXPECT_EQ(cursor.text(), "n");
        else
            numbers.push_back(cursor.number());
    }
    cursor.expect_end();
    EXPECT_TRUE(cursor.status());
    EXPECT_EQ(keys, (std::vector<std::string>{"size", "more", "name", "not-a-number", "below",
                                              "fraction", "last"}));
    using Number = std::optional<uint64_t>;
    EXPECT_EQ(numbers, (std::vector<Number>{UINT64_MAX, Number(), Number(), Number(), 7}));
}

/// As parse_json() finds it.
bool is_json(std::string_view text)
{
    JsonCursor cursor(text);
    cursor.skip();
    cursor.expect_end();
    return cursor.status().has_value();
}

TEST(JsonCursor, RefusesWhatIsNotOneValue)
{
    for (const std::string_view text :
         {"",           "  ",     "{",        "{}{}",      "[1,]",    "{\"a\"}",   "{\"a\":}",
          "{\"a\":1,}", "[,1]",   "[1 2]",    "{\"a\" 1}", "{a:1}",   "1e999",     "nul",
          "01",         "-",      "\"\xff\"", "\"\x01\"",  "\"\\x\"", "\"",        "\"\\\"",
          "[1",         "[\"a\"", "]",        "}",         ",",       "{\"a\":1]", "[1}"}) {
        EXPECT_FALSE(is_json(text)) << text;
        EXPECT_FALSE(parse_json(text)) << text;
    }
    for (const std::string_view text :
         {"0", "[]", "{}", " [ ] ", "-0", "1E5", "null", "\"\\u0041\"", "[[[]]]", "{\"a\":[{}]}"}) {
        EXPECT_TRUE(is_json(text)) << text;
        EXPECT_TRUE(parse_json(text)) << text;
    }
    EXPECT_FALSE(is_json(std::string_view("1\0", 2)));
    EXPECT_FALSE(is_json(std::string(1000, '[') + std::string(1000, ']')));
}

TEST(JsonCursor, SaysWhereAndTakesNothingMore)
{
    JsonCursor cursor(R"(["a", x, "b"])");
    ASSERT_TRUE(cursor.begin_array());
    ASSERT_TRUE(cursor.next_element());
    EXPECT_EQ(cursor.text(), "a");
    ASSERT_TRUE(cursor.next_element());
    EXPECT_FALSE(cursor.text());
    ASSERT_FALSE(cursor.status());
    EXPECT_NE(cursor.status().error().text().find("at byte 7"), std::string::npos)
        << cursor.status().error().text();
    EXPECT_FALSE(cursor.next_element());
    EXPECT_FALSE(cursor.begin_array());
    EXPECT_FALSE(cursor.text());
}

} // namespace
} // namespace drover
