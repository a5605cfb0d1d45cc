// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/messages.h"

#include <gtest/gtest.h>

namespace drover::stream {
namespace {

SessionToken token()
{
    SessionToken value{};
    for (size_t i = 0; i < value.size(); ++i)
        value[i] = static_cast<std::byte>(0xf0 + i);
    return value;
}

/// No prefix of a payload of fixed size decodes, nor the payload with a byte more.
template <typename Decode> void expect_only_whole(const Bytes& payload, Decode decode)
{
    EXPECT_TRUE(decode(payload));
    for (size_t size = 0; size < payload.size(); ++size) {
        const auto decoded = decode(std::span(payload).first(size));
        ASSERT_FALSE(decoded) << size;
        EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
    }
    Bytes longer = payload;
    longer.push_back({});
    EXPECT_FALSE(decode(longer));
}

TEST(Messages, JoinGoldenBytes)
{
    const Join join{token(), 0x01020304};
    const Bytes golden = hex("f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff  04 03 02 01");
    EXPECT_EQ(to_hex(encode(join)), to_hex(golden));
    EXPECT_EQ(decode_join(golden), join);
    expect_only_whole(golden, decode_join);
}

TEST(Messages, RoundEndGoldenBytes)
{
    const Bytes golden = hex("39 30 00 00  00 00 00 00");
    EXPECT_EQ(to_hex(encode(RoundEnd{12345, false})), to_hex(golden));
    EXPECT_EQ(decode_round_end(golden), (RoundEnd{12345, false}));
    const Bytes last = hex("02 00 00 00  01 00 00 00");
    EXPECT_EQ(to_hex(encode(RoundEnd{2, true})), to_hex(last));
    EXPECT_EQ(decode_round_end(last), (RoundEnd{2, true}));
    expect_only_whole(last, decode_round_end);
}

TEST(Messages, RoundEndRefusesUnknownMarks)
{
    EXPECT_FALSE(decode_round_end(hex("02 00 00 00  02 00 00 00")));
    EXPECT_FALSE(decode_round_end(hex("02 00 00 00  01 01 00 00")));
    EXPECT_FALSE(decode_round_end(hex("02 00 00 00  01 00 00 80")));
}

TEST(Messages, DeviceEndGoldenBytes)
{
    const DeviceEnd end{0x1122334455667788, 0xa1a2a3a4a5a6a7a8};
    const Bytes golden = hex("88 77 66 55 44 33 22 11  a8 a7 a6 a5 a4 a3 a2 a1");
    EXPECT_EQ(to_hex(encode(end)), to_hex(golden));
    EXPECT_EQ(decode_device_end(golden), end);
    expect_only_whole(golden, decode_device_end);
}

TEST(Messages, NumbersAndTokenGoldenBytes)
{
    EXPECT_EQ(to_hex(encode_u64(0x0102030405060708)), "08 07 06 05 04 03 02 01");
    EXPECT_EQ(decode_u64(hex("08 07 06 05 04 03 02 01")), 0x0102030405060708U);
    expect_only_whole(encode_u64(1), decode_u64);
    EXPECT_EQ(to_hex(encode_u32(0x01020304)), "04 03 02 01");
    EXPECT_EQ(decode_u32(hex("04 03 02 01")), 0x01020304U);
    expect_only_whole(encode_u32(1), decode_u32);
    EXPECT_EQ(to_hex(encode_token(token())), "f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 fa fb fc fd fe ff");
    EXPECT_EQ(decode_token(encode_token(token())), token());
    expect_only_whole(encode_token(token()), decode_token);
}

TEST(Messages, OutcomeNumbersAreFrozen)
{
    EXPECT_EQ(decode_outcome(hex("00 00 00 00")), Outcome::Unknown);
    EXPECT_EQ(decode_outcome(hex("01 00 00 00")), Outcome::NotReady);
    EXPECT_EQ(decode_outcome(hex("02 00 00 00")), Outcome::Ready);
    EXPECT_EQ(decode_outcome(hex("03 00 00 00")), Outcome::Committed);
    EXPECT_EQ(decode_outcome(hex("04 00 00 00")), Outcome::Postcopy);
    EXPECT_EQ(decode_outcome(hex("05 00 00 00")), Outcome::Arrived);
    EXPECT_EQ(decode_outcome(hex("06 00 00 00")), Outcome::Receiving);
    EXPECT_FALSE(decode_outcome(hex("07 00 00 00")));
    EXPECT_FALSE(decode_outcome(hex("00 00 00 01")));
    expect_only_whole(hex("03 00 00 00"), decode_outcome);
}

TEST(Messages, JsonMustBeOneObject)
{
    EXPECT_EQ(to_hex(encode_json({{"a", 1}})), to_hex(bytes_of("{\"a\":1}")));
    EXPECT_EQ(decode_json(bytes_of("{\"a\":1}")), Json({{"a", 1}}));
    for (const char* text : {"", "[]", "1", "\"x\"", "null", "{\"a\":1", "{}{}", "{\"a\":1}x"}) {
        const auto decoded = decode_json(bytes_of(text));
        ASSERT_FALSE(decoded) << text;
        EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
    }
    const std::string deep = "{\"a\":" + std::string(100'000, '[');
    EXPECT_FALSE(decode_json(bytes_of(deep)));
}

TEST(Messages, ErrorGoldenJson)
{
    const Error error{ErrorKind::Incompatible, "the RAM differs", "give both sides -m 512"};
    EXPECT_EQ(dump_json(error_to_json(error)),
              R"({"hint":"give both sides -m 512","kind":"incompatible",)"
              R"("message":"the RAM differs"})");
}

TEST(Messages, EachKindOfErrorSurvivesTheWayThere)
{
    for (const auto kind :
         {ErrorKind::Invalid, ErrorKind::Incompatible, ErrorKind::Protocol, ErrorKind::Connection,
          ErrorKind::Refused, ErrorKind::Cancelled, ErrorKind::Machine, ErrorKind::System}) {
        const Error there = error_from_json(error_to_json({kind, "what", "how"}));
        EXPECT_EQ(there.kind, kind);
        EXPECT_EQ(there.message, "what");
        EXPECT_EQ(there.hint, "how");
    }
}

TEST(Messages, ForgedErrorsAreTamed)
{
    EXPECT_EQ(error_from_json(Json::array()).kind, ErrorKind::Protocol);
    EXPECT_EQ(error_from_json({{"kind", "system"}}).kind, ErrorKind::Protocol);
    EXPECT_EQ(error_from_json({{"kind", "system"}, {"message", 7}}).kind, ErrorKind::Protocol);
    const Error newer = error_from_json({{"kind", "from-the-future"}, {"message", "no"}});
    EXPECT_EQ(newer.kind, ErrorKind::Refused);
    EXPECT_EQ(newer.message, "no");
    const Error lines = error_from_json({{"kind", "system"}, {"message", "a\nb\x1b[2J\x7f"}});
    EXPECT_EQ(lines.message, "a b [2J ");
    std::string umlauts;
    for (int i = 0; i < 3000; ++i)
        umlauts += "ü";
    EXPECT_EQ(error_from_json({{"message", "x" + umlauts}}).message.size(), 1999U);
}

} // namespace
} // namespace drover::stream
