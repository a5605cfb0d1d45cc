// SPDX-License-Identifier: GPL-2.0-or-later
// The migration stream's decoders. The first byte names a frame's type (0: a preamble, 255: a whole
// header, 254: a whole connection), the rest is its payload: so mutations get past the checksums,
// which a forger can make too. What decodes must survive being encoded and decoded again.
#include "migration/stream/frame_assembler.h"
#include "migration/stream/hello.h"
#include "migration/stream/little_endian.h"
#include "migration/stream/page_codec.h"
#include "migration/stream/page_delta.h"
#include "migration/stream/postcopy.h"
#include "migration/stream/resume.h"
#include "tests/fuzz/driver.h"

#include <algorithm>
#include <cstdlib>
#include <xxhash.h>

namespace {

using namespace drover;
using namespace drover::stream;
using Payload = std::span<const std::byte>;

void require(bool holds)
{
    if (!holds)
        abort();
}

bool same(Payload a, Payload b)
{
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// For decoders whose every accepted payload has one encoding.
template <typename Decode, typename Encode>
void round_trip(Payload payload, Decode decode, Encode encoder)
{
    if (const auto value = decode(payload))
        require(same(encoder(*value), payload));
}

void check_preamble(Payload input)
{
    require(!describe_stranger(input).empty());
    if (input.size() < preamble_size)
        return;
    if (const auto role = decode_preamble(input.first<preamble_size>()))
        require(same(encode_preamble(*role), input.first(preamble_size)));
}

void check_header(Payload input)
{
    if (input.size() < header_size)
        return;
    HeaderBytes bytes;
    std::copy_n(input.begin(), header_size, bytes.begin());
    static_cast<void>(decode_header(bytes));
    store_le(uint64_t{XXH3_64bits(bytes.data(), 24)}, &bytes[24]);
    const auto header = decode_header(bytes);
    if (!header)
        return;
    require(header->payload_size <= payload_cap(header->type));
    require(same(encode_header(*header), bytes));
    static_cast<void>(check_payload(*header, input.subspan(header_size)));
}

/// What is unpacked must be as much as the runs say, within the cap, and can be applied.
void check_unpacked(const PagesView& view)
{
    PageUnpacker unpacker;
    const auto runs = unpacker.unpack(view);
    if (!runs)
        return;
    require(runs->size() == view.table.runs.size());
    uint64_t packed = 0;
    std::array<std::byte, delta_page_size> page{};
    for (const UnpackedRun& run : *runs) {
        const uint64_t size = uint64_t{run.run.count} * view.table.page_size;
        packed += run.run.encoding >= PageEncoding::Repeated ? size : 0;
        switch (run.run.encoding) {
        case PageEncoding::Raw:
        case PageEncoding::Lz4:
        case PageEncoding::Zstd: require(run.bytes.size() == size); break;
        case PageEncoding::Repeated:
            require(run.bytes.size() == run.run.count * repeated_word_size);
            break;
        case PageEncoding::Delta:
            for (Payload left = run.bytes; !left.empty();) {
                const size_t record = delta_record_size(left);
                require(record > 0);
                static_cast<void>(apply_delta(left.first(record), page.data()));
                left = left.subspan(record);
            }
            break;
        default: require(run.bytes.empty());
        }
    }
    require(packed <= max_unpacked);
}

void check_pages(Payload payload)
{
    const auto view = decode_pages(payload, all_encodings);
    if (!view)
        return;
    Bytes table;
    encode_pages_table(view->table, table);
    const auto block = [](Payload bytes) { return bytes.empty() ? 0 : 4 + bytes.size(); };
    require(table.size() + view->raw.size() + view->repeated.size() + block(view->lz4) +
                block(view->zstd) + view->deltas.size() ==
            payload.size());
    require(same(table, payload.first(table.size())));
    uint64_t end = 0, raw = 0;
    bool plain = true;
    for (const PageRun& run : view->table.runs) {
        require(run.count > 0 && run.first_page >= end);
        end = run.first_page + run.count;
        raw += run.encoding == PageEncoding::Raw ? run.count : 0;
        plain = plain && plain_encodings.has(run.encoding);
    }
    require(raw * view->table.page_size == view->raw.size());
    require(decode_pages(payload).has_value() == plain);
    check_unpacked(*view);
}

void check_hello(const Json& json)
{
    const auto hello = Hello::from_json(json);
    if (!hello)
        return;
    const auto again = decode_json(encode_json(hello->to_json()));
    require(again && Hello::from_json(*again) == *hello);
    const auto agreed = agree_features(*hello, known_features());
    if (agreed)
        require(bool(check_welcome(*hello, {"drover", *agreed, hello->channels, {}})));
}

void check_welcome_json(const Json& json)
{
    const auto welcome = Welcome::from_json(json);
    if (!welcome)
        return;
    const auto again = decode_json(encode_json(welcome->to_json()));
    require(again && Welcome::from_json(*again) == *welcome);
}

void check_json(FrameType type, Payload payload)
{
    const auto json = decode_json(payload);
    if (!json)
        return;
    if (type == FrameType::Hello)
        check_hello(*json);
    if (type == FrameType::Welcome)
        check_welcome_json(*json);
    const Error error = error_from_json(*json);
    require(!error.message.empty() && error.message.find('\n') == std::string::npos);
}

void check_payload_of(FrameType type, Payload payload)
{
    switch (type) {
    case FrameType::Join:
        return round_trip(payload, decode_join, [](const Join& v) { return encode(v); });
    case FrameType::Pages: return check_pages(payload);
    case FrameType::RoundEnd:
    case FrameType::RoundAck:
        return round_trip(payload, decode_round_end, [](const RoundEnd& v) { return encode(v); });
    case FrameType::DeviceEnd:
        return round_trip(payload, decode_device_end, [](const DeviceEnd& v) { return encode(v); });
    case FrameType::Ping:
    case FrameType::Pong: return round_trip(payload, decode_u64, encode_u64);
    case FrameType::Ask: return round_trip(payload, decode_token, encode_token);
    case FrameType::RamDigest:
    case FrameType::PagesPlaced:
    case FrameType::MissingEnd: return round_trip(payload, decode_u64, encode_u64);
    case FrameType::Missing:
        return round_trip(payload, decode_missing, [](const MissingPages& v) { return encode(v); });
    case FrameType::ResumePoint:
        return round_trip(payload, decode_resume_point,
                          [](const ResumePoint& v) { return encode(v); });
    case FrameType::PageRequest:
        return round_trip(payload, decode_page_request,
                          [](const PageRequest& v) { return encode(v); });
    case FrameType::Outcome:
        return round_trip(payload, decode_outcome,
                          [](Outcome v) { return encode_u32(static_cast<uint32_t>(v)); });
    default: return check_json(type, payload);
    }
}

/// How many frames come out of a connection's bytes, and the error at its end.
std::pair<size_t, std::string> assemble(Payload input, FrameAssembler::Greeting greeting,
                                        size_t chunk)
{
    FrameAssembler assembler(ConnectionRole::Control, greeting);
    size_t frames = 0;
    while (!input.empty()) {
        const auto target = assembler.target();
        require(!target.empty());
        const size_t count = std::min({target.size(), input.size(), chunk});
        std::copy_n(input.begin(), count, target.begin());
        input = input.subspan(count);
        const auto frame = assembler.filled(count);
        if (!frame)
            return {frames, frame.error().text()};
        frames += *frame != nullptr;
    }
    return {frames, assembler.ended({ErrorKind::Connection, "the end", {}}).text()};
}

/// Where the network cuts the bytes must not matter.
void check_connection(Payload input)
{
    using enum FrameAssembler::Greeting;
    for (const auto greeting : {None, Optional, Required})
        require(assemble(input, greeting, input.size()) ==
                assemble(input, greeting, input.size() % 7 + 1));
}

std::string seed(unsigned char first, Payload payload)
{
    std::string text(1, static_cast<char>(first));
    return text.append(reinterpret_cast<const char*>(payload.data()), payload.size());
}

std::string seed(FrameType type, Payload payload)
{
    return seed(static_cast<unsigned char>(type), payload);
}

Hello example_hello()
{
    Hello hello;
    hello.software = "drover 0.1.0";
    hello.mandatory_features = {"raw-pages", "zero-pages"};
    hello.optional_features = {"commit-ask"};
    hello.ram = {{"ram", 1 << 30, 4096}, {"huge", 1 << 30, 2 << 20}};
    return hello;
}

Bytes example_connection()
{
    const auto preamble = encode_preamble(ConnectionRole::Control);
    Bytes bytes(preamble.begin(), preamble.end());
    uint64_t sequence = 0;
    for (const Bytes& payload : {encode_u64(1), encode_u64(2)}) {
        const auto header =
            encode_header({FrameType::Ping, 0, 8, sequence++, payload_checksum(payload)});
        bytes.insert(bytes.end(), header.begin(), header.end());
        bytes.insert(bytes.end(), payload.begin(), payload.end());
    }
    return bytes;
}

Bytes example_pages()
{
    Bytes payload;
    encode_pages_table(
        {0,
         1,
         4096,
         {{1, 2, PageEncoding::Raw}, {3, 1, PageEncoding::Zero}, {9, 7, PageEncoding::Hole}}},
        payload);
    payload.resize(payload.size() + 8192);
    return payload;
}

/// A page of each encoding.
Bytes example_packed_pages()
{
    using enum PageEncoding;
    Bytes payload;
    encode_pages_table(
        {0, 2, 4096, {{0, 1, Raw}, {1, 2, Repeated}, {4, 2, Lz4}, {6, 2, Zstd}, {9, 1, Delta}}},
        payload);
    const Bytes pages(8192, std::byte{0x5a});
    const auto add = [&](Payload bytes) {
        payload.insert(payload.end(), bytes.begin(), bytes.end());
    };
    PagePacker packer;
    add(Payload(pages).first(4096));
    add(Payload(pages).first(16));
    add(packer.pack_lz4(pages));
    add(packer.pack_zstd(pages, 1));
    append_delta(pages.data(), 0x8001, payload);
    return payload;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    if (size == 0)
        return 0;
    const Payload payload = std::as_bytes(std::span(data + 1, size - 1));
    if (data[0] == 0)
        check_preamble(payload);
    else if (data[0] == 255)
        check_header(payload);
    else if (data[0] == 254)
        check_connection(payload);
    else
        check_payload_of(static_cast<FrameType>(data[0]), payload);
    return 0;
}

std::vector<std::string> drover::fuzz::seeds()
{
    const Bytes connection = example_connection();
    const Welcome welcome{"drover 0.1.0", {"raw-pages"}, 2, Json::object()};
    const Error error{ErrorKind::Refused, "the RAM differs", "give both sides -m 512"};
    return {
        seed(0, encode_preamble(ConnectionRole::Control)),
        seed(255, encode_header({FrameType::Pages, 0, 4096, 7, 42})),
        seed(254, connection),
        seed(254, std::span(connection).subspan(preamble_size)),
        seed(FrameType::Hello, encode_json(example_hello().to_json())),
        seed(FrameType::Welcome, encode_json(welcome.to_json())),
        seed(FrameType::Refuse, encode_json(error_to_json(error))),
        seed(FrameType::Join, encode(Join{{}, 3})),
        seed(FrameType::Pages, example_pages()),
        seed(FrameType::Pages, example_packed_pages()),
        seed(FrameType::RoundEnd, encode(RoundEnd{2, true})),
        seed(FrameType::DeviceEnd, encode(DeviceEnd{54'321, 1})),
        seed(FrameType::Ping, encode_u64(7)),
        seed(FrameType::Ask, encode_token({})),
        seed(FrameType::Outcome, encode_u32(3)),
        seed(FrameType::Missing, encode(MissingPages{1, {{512, {1}}, {2048, {0, 2, 0, 4}}}})),
        seed(FrameType::PageRequest, encode(PageRequest{0, 16, 512})),
    };
}
