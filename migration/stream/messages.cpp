// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/messages.h"
#include "migration/stream/little_endian.h"

#include <algorithm>

namespace drover::stream {

namespace {

constexpr size_t max_error_text = 2000;

std::unexpected<Error> wrong_size(const char* what, size_t size)
{
    return fail(ErrorKind::Protocol,
                std::string("a payload of ") + std::to_string(size) + " bytes cannot be " + what);
}

/// A text of the peer's that will stand in our log: cut, on one line, never within a character.
std::string tame(std::string text)
{
    if (text.size() > max_error_text) {
        size_t end = max_error_text;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
            --end;
        text.resize(end);
    }
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
    return text;
}

constexpr std::array kinds = {
    ErrorKind::Invalid, ErrorKind::Incompatible, ErrorKind::Protocol, ErrorKind::Connection,
    ErrorKind::Refused, ErrorKind::Cancelled,    ErrorKind::Machine,  ErrorKind::System,
};

} // namespace

Bytes encode(const Join& value)
{
    Bytes out(value.token.begin(), value.token.end());
    append_le(out, value.index);
    return out;
}

Result<Join> decode_join(std::span<const std::byte> payload)
{
    Join value;
    if (payload.size() != value.token.size() + 4)
        return wrong_size("a Join", payload.size());
    std::copy_n(payload.begin(), value.token.size(), value.token.begin());
    value.index = load_le<uint32_t>(payload.data() + value.token.size());
    return value;
}

Bytes encode(const RoundEnd& value)
{
    Bytes out;
    append_le(out, value.round);
    append_le(out, uint32_t{value.last});
    return out;
}

Result<RoundEnd> decode_round_end(std::span<const std::byte> payload)
{
    if (payload.size() != 8)
        return wrong_size("the end of a round", payload.size());
    const uint32_t last = load_le<uint32_t>(payload.data() + 4);
    if (last > 1)
        return fail(ErrorKind::Protocol,
                    "the end of a round has the unknown mark " + std::to_string(last));
    return RoundEnd{load_le<uint32_t>(payload.data()), last == 1};
}

Bytes encode(const DeviceEnd& value)
{
    Bytes out;
    append_le(out, value.total_bytes);
    append_le(out, value.checksum);
    return out;
}

Result<DeviceEnd> decode_device_end(std::span<const std::byte> payload)
{
    if (payload.size() != 16)
        return wrong_size("the end of the device state", payload.size());
    return DeviceEnd{load_le<uint64_t>(payload.data()), load_le<uint64_t>(payload.data() + 8)};
}

Bytes encode_u64(uint64_t value)
{
    Bytes out;
    append_le(out, value);
    return out;
}

Result<uint64_t> decode_u64(std::span<const std::byte> payload)
{
    if (payload.size() != 8)
        return wrong_size("a number of 64 bits", payload.size());
    return load_le<uint64_t>(payload.data());
}

Bytes encode_u32(uint32_t value)
{
    Bytes out;
    append_le(out, value);
    return out;
}

Result<uint32_t> decode_u32(std::span<const std::byte> payload)
{
    if (payload.size() != 4)
        return wrong_size("a number of 32 bits", payload.size());
    return load_le<uint32_t>(payload.data());
}

Bytes encode_token(const SessionToken& value)
{
    return {value.begin(), value.end()};
}

Result<SessionToken> decode_token(std::span<const std::byte> payload)
{
    SessionToken token;
    if (payload.size() != token.size())
        return wrong_size("a session's token", payload.size());
    std::copy(payload.begin(), payload.end(), token.begin());
    return token;
}

Result<Outcome> decode_outcome(std::span<const std::byte> payload)
{
    const auto value = decode_u32(payload);
    if (!value)
        return std::unexpected(value.error());
    if (*value > static_cast<uint32_t>(Outcome::Receiving))
        return fail(ErrorKind::Protocol,
                    "the destination answers with the unknown outcome " + std::to_string(*value));
    return static_cast<Outcome>(*value);
}

Bytes encode_json(const Json& value)
{
    const std::string text = dump_json(value);
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

Result<Json> decode_json(std::span<const std::byte> payload)
{
    auto value = parse_json({reinterpret_cast<const char*>(payload.data()), payload.size()});
    if (!value)
        return fail(ErrorKind::Protocol, "the peer sent malformed JSON: " + value.error().message);
    if (!value->is_object())
        return fail(ErrorKind::Protocol, "the peer sent JSON that is not an object");
    return value;
}

Json error_to_json(const Error& error)
{
    return {{"kind", to_string(error.kind)}, {"message", error.message}, {"hint", error.hint}};
}

Error error_from_json(const Json& value)
{
    const std::string message = tame(json_string(value, "message"));
    if (!value.is_object() || message.empty())
        return {ErrorKind::Protocol, "the peer gave up without saying why", {}};
    const std::string name = json_string(value, "kind");
    const auto kind = std::find_if(kinds.begin(), kinds.end(),
                                   [&](ErrorKind known) { return to_string(known) == name; });
    return {kind == kinds.end() ? ErrorKind::Refused : *kind, message,
            tame(json_string(value, "hint"))};
}

} // namespace drover::stream
