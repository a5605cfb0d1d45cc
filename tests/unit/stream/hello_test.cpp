// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/hello.h"

#include <gtest/gtest.h>

namespace drover::stream {
namespace {

Hello example()
{
    Hello hello;
    for (size_t i = 0; i < hello.session.size(); ++i)
        hello.session[i] = static_cast<std::byte>(i * 0x11);
    hello.software = "drover 0.1.0";
    hello.mandatory_features = {"raw-pages", "zero-pages"};
    hello.optional_features = {"hole-pages"};
    hello.channels = 4;
    hello.machine = {{"type", "pc-q35-7.2"}};
    hello.ram = {{"ram", 512 << 20, 4096}, {"huge", 1 << 30, 2 << 20}};
    hello.policy = {{"downtime", 0.05}};
    hello.resume_guest = true;
    return hello;
}

constexpr std::string_view golden_hello =
    R"({"channels":4,)"
    R"("features":{"mandatory":["raw-pages","zero-pages"],"optional":["hole-pages"]},)"
    R"("machine":{"type":"pc-q35-7.2"},"policy":{"downtime":0.05},)"
    R"("ram":[{"name":"ram","page_size":4096,"size":536870912},)"
    R"({"name":"huge","page_size":2097152,"size":1073741824}],)"
    R"("resume_guest":true,"session":"00112233445566778899aabbccddeeff",)"
    R"("software":"drover 0.1.0"})";

constexpr std::string_view golden_welcome =
    R"({"channels":2,"features":["raw-pages","zero-pages"],"machine":{"type":"pc-q35-7.2"},)"
    R"("software":"drover 0.1.0"})";

template <typename T> Result<T> decode(std::span<const std::byte> payload)
{
    auto json = decode_json(payload);
    return json ? T::from_json(*json) : pass(json);
}

/// The example with one member (a JSON pointer) changed must be refused, naming `where`.
void expect_refused(const char* pointer, Json value, std::string_view where)
{
    Json json = example().to_json();
    json[Json::json_pointer(pointer)] = std::move(value);
    const auto decoded = decode<Hello>(encode_json(json));
    ASSERT_FALSE(decoded) << pointer;
    EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
    EXPECT_NE(decoded.error().message.find(where), std::string::npos) << decoded.error().message;
}

TEST(Hello, GoldenJson)
{
    EXPECT_EQ(dump_json(example().to_json()), golden_hello);
    const auto decoded = decode<Hello>(bytes_of(golden_hello));
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(*decoded, example());
}

TEST(Hello, WelcomeGoldenJson)
{
    const Welcome welcome{"drover 0.1.0", {"raw-pages", "zero-pages"}, 2, {{"type", "pc-q35-7.2"}}};
    EXPECT_EQ(dump_json(welcome.to_json()), golden_welcome);
    const auto decoded = decode<Welcome>(bytes_of(golden_welcome));
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(*decoded, welcome);
}

TEST(Hello, NoPrefixDecodes)
{
    const Bytes hello = bytes_of(golden_hello), welcome = bytes_of(golden_welcome);
    for (size_t size = 0; size < hello.size(); ++size)
        ASSERT_FALSE(decode<Hello>(std::span(hello).first(size))) << size;
    for (size_t size = 0; size < welcome.size(); ++size)
        ASSERT_FALSE(decode<Welcome>(std::span(welcome).first(size))) << size;
}

TEST(Hello, EachMemberIsNeededAndHasItsType)
{
    for (const char* key : {"session", "software", "features", "channels", "machine", "ram",
                            "policy", "resume_guest"}) {
        Json json = example().to_json();
        json.erase(key);
        const auto decoded = Hello::from_json(json);
        ASSERT_FALSE(decoded) << key;
        EXPECT_EQ(decoded.error().message, std::string("hello.") + key + " is missing");
        expect_refused((std::string("/") + key).c_str(), nullptr, key);
        expect_refused((std::string("/") + key).c_str(), -1, key);
    }
    for (const char* key : {"software", "features", "channels", "machine"}) {
        Json json = *decode_json(bytes_of(golden_welcome));
        json.erase(key);
        ASSERT_FALSE(Welcome::from_json(json)) << key;
    }
    EXPECT_FALSE(Hello::from_json(Json::array()));
    EXPECT_FALSE(Welcome::from_json("x"));
}

TEST(Hello, UnknownMembersAreIgnored)
{
    Json json = example().to_json();
    json["from-the-future"] = {1, 2, 3};
    json["ram"][0]["numa"] = 1;
    const auto decoded = Hello::from_json(json);
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(*decoded, example());
}

TEST(Hello, ForgedMembers)
{
    expect_refused("/session", "00112233445566778899AABBCCDDEEFF", "hello.session");
    expect_refused("/session", "00112233445566778899aabbccddeef", "hello.session");
    expect_refused("/session", "00112233445566778899aabbccddeeffa", "hello.session");
    expect_refused("/session", "0x112233445566778899aabbccddeeff", "hello.session");
    expect_refused("/software", "", "hello.software");
    expect_refused("/software", std::string(256, 'x'), "256 bytes");
    expect_refused("/software", "a\nb", "control characters");
    expect_refused("/channels", 0, "hello.channels is 0; allowed are 1 to 64");
    expect_refused("/channels", 65, "hello.channels");
    expect_refused("/channels", 1.5, "hello.channels");
    expect_refused("/channels", uint64_t{1} << 32 | 1, "hello.channels");
    expect_refused("/resume_guest", 1, "hello.resume_guest");
    expect_refused("/features/mandatory", "raw-pages", "hello.features.mandatory");
    expect_refused("/features/mandatory/0", 1, "hello.features.mandatory");
    expect_refused("/features/optional/0", "", "hello.features.optional");
    expect_refused("/features/optional/0", "Raw Pages", "hello.features.optional");
    expect_refused("/features/optional/0", std::string(65, 'a'), "hello.features.optional");
    expect_refused("/features/optional", Json(std::vector<std::string>(257, "a")), "257 entries");
}

TEST(Hello, ForgedRam)
{
    expect_refused("/ram", Json::array({1}), "hello.ram[0] is not an object");
    expect_refused("/ram/1/name", "ram", "hello.ram[1].name occurs twice");
    expect_refused("/ram/1/name", "", "hello.ram[1].name");
    expect_refused("/ram/1/name", std::string(256, 'n'), "hello.ram[1].name");
    expect_refused("/ram/1/name", "a\tb", "hello.ram[1].name");
    expect_refused("/ram/0/size", 0, "hello.ram[0].size");
    expect_refused("/ram/0/size", 4095, "hello.ram[0].size");
    expect_refused("/ram/0/size", -4096, "hello.ram[0].size");
    expect_refused("/ram/0/size", 0xfffffffffffff000U, "hello.ram[0].size");
    expect_refused("/ram/0/size", max_ram, "hello.ram is larger");
    expect_refused("/ram/0/page_size", 0, "hello.ram[0].page_size");
    expect_refused("/ram/0/page_size", 2048, "hello.ram[0].page_size");
    expect_refused("/ram/0/page_size", 12288, "not a power of two");
    expect_refused("/ram/0/page_size", uint64_t{1} << 31, "hello.ram[0].page_size");
}

TEST(Hello, CapOfBlocks)
{
    Hello hello = example();
    hello.ram.clear();
    for (size_t i = 0; i < max_ram_blocks; ++i)
        hello.ram.push_back({"block" + std::to_string(i), 4096, 4096});
    const auto most = Hello::from_json(hello.to_json());
    ASSERT_TRUE(most) << most.error().text();
    EXPECT_EQ(*most, hello);
    EXPECT_LE(encode_json(hello.to_json()).size(), max_json_payload);
    hello.ram.push_back({"one more", 4096, 4096});
    const auto more = Hello::from_json(hello.to_json());
    ASSERT_FALSE(more);
    EXPECT_NE(more.error().message.find("4097 entries"), std::string::npos);
}

TEST(Features, WhatBothKnowIsAgreed)
{
    constexpr std::string_view supported[] = {"zero-pages", "hole-pages", "raw-pages", "other"};
    Hello hello = example();
    hello.mandatory_features = {"raw-pages", "zero-pages", "raw-pages"};
    hello.optional_features = {"unheard-of", "hole-pages", "zero-pages"};
    const auto agreed = agree_features(hello, supported);
    ASSERT_TRUE(agreed) << agreed.error().text();
    EXPECT_EQ(*agreed, (std::vector<std::string>{"raw-pages", "zero-pages", "hole-pages"}));
}

TEST(Features, UnknownMandatoryOnesAreRefusedByName)
{
    Hello hello = example();
    hello.mandatory_features = {"raw-pages", "post-copy", "xbzrle"};
    const auto agreed = agree_features(hello, known_features());
    ASSERT_FALSE(agreed);
    EXPECT_EQ(agreed.error().kind, ErrorKind::Incompatible);
    EXPECT_NE(agreed.error().message.find("post-copy, xbzrle"), std::string::npos);
    EXPECT_NE(agreed.error().message.find("drover 0.1.0"), std::string::npos);
    EXPECT_EQ(agreed.error().message.find("raw-pages"), std::string::npos);
    EXPECT_FALSE(agreed.error().hint.empty());
}

TEST(Features, NamesAreFrozen)
{
    const auto known = known_features();
    EXPECT_EQ(std::vector<std::string_view>(known.begin(), known.end()),
              (std::vector<std::string_view>{"raw-pages", "zero-pages", "hole-pages",
                                             "device-state-opaque", "commit-ask", "postcopy",
                                             "give-back", "device-state-neutral", "arrived-outcome",
                                             "repeated-pages", "lz4-pages", "zstd-pages",
                                             "delta-pages", "resume-copy", "ram-digest"}));
    EXPECT_EQ(needed_features().size(), 5U) << "without the others a migration works";
}

TEST(Features, AWelcomeMustAnswerTheHello)
{
    const Hello hello = example();
    Welcome welcome{"drover 0.1.0", {"raw-pages", "zero-pages"}, 4, Json::object()};
    EXPECT_TRUE(check_welcome(hello, welcome));
    welcome.features.push_back("hole-pages");
    EXPECT_TRUE(check_welcome(hello, welcome));
    welcome.channels = 5;
    EXPECT_FALSE(check_welcome(hello, welcome));
    welcome.channels = 1;
    welcome.features.push_back("never-offered");
    EXPECT_FALSE(check_welcome(hello, welcome));
    welcome.features = {"raw-pages", "hole-pages"};
    const auto lacking = check_welcome(hello, welcome);
    ASSERT_FALSE(lacking);
    EXPECT_NE(lacking.error().message.find("zero-pages"), std::string::npos);
}

TEST(Token, HexadecimalAndBack)
{
    const SessionToken token = example().session;
    EXPECT_EQ(token_to_hex(token), "00112233445566778899aabbccddeeff");
    EXPECT_EQ(token_from_hex(token_to_hex(token)), token);
    EXPECT_FALSE(token_from_hex(""));
}

} // namespace
} // namespace drover::stream
