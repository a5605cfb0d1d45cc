// SPDX-License-Identifier: GPL-2.0-or-later
#include "bytes.h"
#include "migration/stream/frame.h"

#include <gtest/gtest.h>
#include <map>

namespace drover::stream {
namespace {

HeaderBytes header_of(const Bytes& bytes)
{
    HeaderBytes header{};
    EXPECT_EQ(bytes.size(), header.size());
    std::copy(bytes.begin(), bytes.end(), header.begin());
    return header;
}

PreambleBytes preamble_of(const Bytes& bytes)
{
    PreambleBytes preamble{};
    EXPECT_GE(bytes.size(), preamble.size());
    std::copy_n(bytes.begin(), preamble.size(), preamble.begin());
    return preamble;
}

TEST(Frame, TypeNumbersAreFrozen)
{
    const std::map<unsigned, std::string> names = {
        {1, "Hello"},        {2, "Welcome"},      {3, "Refuse"},      {4, "Join"},
        {5, "Pages"},        {6, "RoundEnd"},     {7, "RoundAck"},    {8, "DeviceHeader"},
        {9, "DeviceData"},   {10, "DeviceEnd"},   {11, "Ready"},      {12, "Commit"},
        {13, "Running"},     {14, "Abort"},       {15, "Ping"},       {16, "Pong"},
        {17, "Ask"},         {18, "Outcome"},     {19, "TunnelOpen"}, {20, "TunnelData"},
        {21, "TunnelClose"}, {22, "Arrived"},     {23, "Missing"},    {24, "MissingEnd"},
        {25, "PageRequest"}, {26, "PagesPlaced"}, {27, "AllHere"},    {28, "Resume"},
        {29, "ProbeInfo"},   {30, "ProbeData"},   {31, "ProbeHello"}, {32, "ProbeJudgement"},
        {33, "ResumePoint"}, {34, "RamDigest"},
    };
    for (unsigned number = 0; number < 100; ++number) {
        const auto known = names.find(number);
        EXPECT_EQ(frame_name(static_cast<FrameType>(number)),
                  known == names.end() ? "unknown" : known->second);
    }
}

TEST(Frame, HeaderGoldenBytes)
{
    const FrameHeader pages{FrameType::Pages, 0, 0x00123456, 0x1122334455667788,
                            0x99aabbccddeeff01};
    EXPECT_EQ(to_hex(encode_header(pages)), "05 00 00 00 56 34 12 00 88 77 66 55 44 33 22 11 "
                                            "01 ff ee dd cc bb aa 99 fb 4b 97 50 f0 fa 0e 58");
    const FrameHeader commit{FrameType::Commit, 0, 0, 3, payload_checksum(Bytes{})};
    EXPECT_EQ(to_hex(encode_header(commit)), "0c 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 "
                                             "c2 94 d3 38 05 80 06 2d 0f 0b 09 b8 6e 0e d5 c9");
}

TEST(Frame, HeaderSurvivesTheWayThere)
{
    const FrameHeader header{FrameType::Pages, 0, 4096 + 32, 77, 0xfeedfacecafebeef};
    const auto decoded = decode_header(encode_header(header));
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(*decoded, header);
}

TEST(Frame, EachFlippedBitOfAHeaderIsNoticed)
{
    const auto good = encode_header({FrameType::Pages, 0, 4096, 1, 2});
    for (size_t bit = 0; bit < header_size * 8; ++bit) {
        const auto decoded = decode_header(header_of(with_bit_flipped(good, bit)));
        ASSERT_FALSE(decoded) << "bit " << bit;
        EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
        EXPECT_NE(decoded.error().message.find("checksum"), std::string::npos);
    }
}

TEST(Frame, ForgedHeadersWithAGoodChecksumAreRefused)
{
    const auto refused = [](const FrameHeader& header, const char* word) {
        const auto decoded = decode_header(encode_header(header));
        ASSERT_FALSE(decoded) << word;
        EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
        EXPECT_NE(decoded.error().message.find(word), std::string::npos) << decoded.error().message;
    };
    refused({FrameType{0}, 0, 0, 0, 0}, "unknown type 0");
    refused({FrameType{35}, 0, 0, 0, 0}, "unknown type 35");
    refused({FrameType{65535}, 0, 0, 0, 0}, "unknown type 65535");
    refused({FrameType::Commit, 1, 0, 0, 0}, "unknown flags 1");
    refused({FrameType::Pages, 0x8000, 4096, 0, 0}, "unknown flags 32768");
    refused({FrameType::Pages, 0, max_pages_payload + 1, 0, 0}, "4194305 bytes");
    refused({FrameType::Pages, 0, 31, 0, 0}, "31 bytes");
    refused({FrameType::Hello, 0, max_json_payload + 1, 0, 0}, "1048577 bytes");
    refused({FrameType::Hello, 0, 0, 0, 0}, "0 bytes");
    refused({FrameType::DeviceData, 0, 0xffffffff, 0, 0}, "4294967295 bytes");
    refused({FrameType::DeviceData, 0, 0, 0, 0}, "0 bytes");
    refused({FrameType::Join, 0, 19, 0, 0}, "19 bytes");
    refused({FrameType::RoundEnd, 0, 9, 0, 0}, "9 bytes");
    refused({FrameType::RoundAck, 0, 7, 0, 0}, "7 bytes");
    refused({FrameType::DeviceEnd, 0, 17, 0, 0}, "17 bytes");
    refused({FrameType::Ready, 0, 1, 0, 0}, "1 bytes");
    refused({FrameType::Commit, 0, 1, 0, 0}, "1 bytes");
    refused({FrameType::Running, 0, 1, 0, 0}, "1 bytes");
    refused({FrameType::Arrived, 0, 1, 0, 0}, "1 bytes");
    refused({FrameType::Missing, 0, 79, 0, 0}, "79 bytes");
    refused({FrameType::Missing, 0, max_missing_payload + 1, 0, 0}, "294921 bytes");
    refused({FrameType::PageRequest, 0, 15, 0, 0}, "15 bytes");
    refused({FrameType::AllHere, 0, 1, 0, 0}, "1 bytes");
    refused({FrameType::TunnelOpen, 0, 5, 0, 0}, "5 bytes");
    refused({FrameType::TunnelData, 0, 4, 0, 0}, "4 bytes");
    refused({FrameType::TunnelData, 0, max_tunnel_payload + 1, 0, 0}, "262149 bytes");
    refused({FrameType::TunnelClose, 0, 0, 0, 0}, "0 bytes");
    refused({FrameType::Ping, 0, 9, 0, 0}, "9 bytes");
    refused({FrameType::Pong, 0, 7, 0, 0}, "7 bytes");
    refused({FrameType::Ask, 0, 17, 0, 0}, "17 bytes");
    refused({FrameType::Outcome, 0, 3, 0, 0}, "3 bytes");
}

TEST(Frame, EachTypeIsAcceptedAtItsCap)
{
    for (unsigned number = 1; number <= 22; ++number) {
        const auto type = static_cast<FrameType>(number);
        EXPECT_TRUE(decode_header(encode_header({type, 0, payload_cap(type), 0, 0})))
            << frame_name(type);
    }
    EXPECT_EQ(payload_cap(FrameType{99}), 0U);
}

TEST(Frame, PayloadChecksumGoldenValues)
{
    EXPECT_EQ(payload_checksum(Bytes{}), 0x2d06800538d394c2U); // XXH3-64 of nothing, seed 0
    EXPECT_EQ(payload_checksum(bytes_of("drover")), 0xd4fa52d3fb8e1a0dU);
    EXPECT_EQ(payload_checksum(Bytes(4096)), 0x93d76fe148c689baU);
}

TEST(Frame, PiecesHaveTheChecksumOfTheWhole)
{
    Bytes whole(10'000);
    for (size_t i = 0; i < whole.size(); ++i)
        whole[i] = static_cast<std::byte>(i * 7 + i / 256);
    const auto all = std::span<const std::byte>(whole);
    for (const size_t cut : {size_t{0}, size_t{1}, size_t{240}, size_t{4096}, whole.size()}) {
        const std::array pieces = {all.first(cut), all.subspan(cut)};
        EXPECT_EQ(payload_checksum(pieces), payload_checksum(all)) << cut;
    }
    EXPECT_EQ(payload_checksum(std::span<const std::span<const std::byte>>{}),
              payload_checksum(Bytes{}));
}

TEST(Frame, EachFlippedBitOfAPayloadIsNoticed)
{
    const Bytes payload = encode(Join{{}, 7});
    const FrameHeader header{FrameType::Join, 0, 20, 0, payload_checksum(payload)};
    EXPECT_TRUE(check_payload(header, payload));
    for (size_t bit = 0; bit < payload.size() * 8; ++bit)
        EXPECT_FALSE(check_payload(header, with_bit_flipped(payload, bit))) << bit;
    EXPECT_FALSE(check_payload(header, std::span(payload).first(19)));
}

TEST(Frame, SequenceMustBeTheNext)
{
    EXPECT_TRUE(check_sequence({FrameType::Ping, 0, 8, 5, 0}, 5));
    const auto wrong = check_sequence({FrameType::Ping, 0, 8, 7, 0}, 5);
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().kind, ErrorKind::Protocol);
    EXPECT_NE(wrong.error().message.find("number 7 where 5 was due"), std::string::npos);
}

TEST(Preamble, GoldenBytes)
{
    EXPECT_EQ(to_hex(encode_preamble(ConnectionRole::Control)),
              "44 52 4f 56 45 52 0d 0a 01 00 00 00 01 00 00 00");
    EXPECT_EQ(to_hex(encode_preamble(ConnectionRole::Data)),
              "44 52 4f 56 45 52 0d 0a 01 00 00 00 02 00 00 00");
    EXPECT_EQ(to_hex(encode_preamble(ConnectionRole::Ask)),
              "44 52 4f 56 45 52 0d 0a 01 00 00 00 03 00 00 00");
    EXPECT_EQ(to_hex(encode_preamble(ConnectionRole::Tunnel)),
              "44 52 4f 56 45 52 0d 0a 01 00 00 00 04 00 00 00");
    EXPECT_EQ(to_hex(encode_preamble(ConnectionRole::Probe)),
              "44 52 4f 56 45 52 0d 0a 01 00 00 00 05 00 00 00");
}

TEST(Preamble, EachRoleSurvivesTheWayThere)
{
    for (const auto role : {ConnectionRole::Control, ConnectionRole::Data, ConnectionRole::Ask,
                            ConnectionRole::Tunnel, ConnectionRole::Probe}) {
        const auto decoded = decode_preamble(encode_preamble(role));
        ASSERT_TRUE(decoded);
        EXPECT_EQ(*decoded, role);
    }
}

TEST(Preamble, StrangersAreNamed)
{
    const std::pair<Bytes, const char*> strangers[] = {
        {bytes_of("GET / HTTP/1.1\r\nHost: x\r\n"), "an HTTP client"},
        {bytes_of("POST /migrate HTTP/1.1\r\n"), "an HTTP client"},
        {hex("51 45 56 4d 00 00 00 03 07 00 00 00 02 70 63 00"), "a stock QEMU's own migration"},
        {hex("11 22 33 44 00 00 00 01 00 00 00 00 00 00 00 00"), "a stock QEMU's multifd"},
        {hex("16 03 01 02 00 01 00 01 fc 03 03 00 00 00 00 00"), "a TLS client"},
        {bytes_of("SSH-2.0-OpenSSH_9.2p1\r\n"), "an SSH program"},
        {bytes_of("{\"execute\":\"qmp_capabilities\"}"), "JSON"},
        {hex("44 52 4f 56 45 52 0a 01 00 00 00 02 00 00 00 00"), "changed to text"},
        {hex("00 01 02 03 41 42 43 44 ff 00 00 00 00 00 00 00"), R"(\x00\x01\x02\x03ABCD\xff)"},
    };
    for (const auto& [first_bytes, what] : strangers) {
        const auto decoded = decode_preamble(preamble_of(first_bytes));
        ASSERT_FALSE(decoded) << what;
        EXPECT_EQ(decoded.error().kind, ErrorKind::Protocol);
        EXPECT_NE(decoded.error().message.find(what), std::string::npos) << decoded.error().message;
        EXPECT_FALSE(decoded.error().hint.empty());
    }
    EXPECT_EQ(describe_stranger({}), "a program that sends nothing");
    EXPECT_EQ(describe_stranger(bytes_of("GET /")), "an HTTP client");
}

TEST(Preamble, OtherFormatsAreNamed)
{
    const auto decoded =
        decode_preamble(preamble_of(hex("44 52 4f 56 45 52 0d 0a 02 00 00 00 01 00 00 00")));
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().kind, ErrorKind::Incompatible);
    EXPECT_NE(decoded.error().message.find("format 2"), std::string::npos);
    EXPECT_NE(decoded.error().message.find("format 1"), std::string::npos);
    EXPECT_FALSE(decoded.error().hint.empty());
}

TEST(Preamble, UnknownRolesAreRefused)
{
    for (const char* role : {"00 00 00 00", "06 00 00 00", "01 00 00 80"}) {
        const auto decoded = decode_preamble(
            preamble_of(hex(std::string("44 52 4f 56 45 52 0d 0a 01 00 00 00") + role)));
        ASSERT_FALSE(decoded) << role;
        EXPECT_NE(decoded.error().message.find("unknown role"), std::string::npos);
    }
}

} // namespace
} // namespace drover::stream
