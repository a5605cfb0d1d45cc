// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/frame.h"
#include "migration/stream/little_endian.h"

#include <algorithm>
#include <string_view>

namespace drover::stream {

namespace {

struct Stranger {
    std::string_view first_bytes;
    const char* what;
};

constexpr std::array<Stranger, 16> strangers = {{
    {"QEVM", "a stock QEMU's own migration stream"},
    {{"\x11\x22\x33\x44", 4}, "a stock QEMU's multifd channel"},
    {{"\x16\x03", 2}, "a TLS client"},
    {"GET ", "an HTTP client"},
    {"HEAD ", "an HTTP client"},
    {"POST ", "an HTTP client"},
    {"PUT ", "an HTTP client"},
    {"OPTIONS ", "an HTTP client"},
    {"CONNECT ", "an HTTP client"},
    {"PRI * HTTP/2", "an HTTP client"},
    {"HTTP/", "an HTTP server"},
    {"SSH-", "an SSH program"},
    {"{", "a program that speaks JSON, such as a QMP client"},
    {"DROVER\n", "a Drover stream that something changed to text on its way"},
    {"DROVER\r\n", "the beginning of a Drover stream"},
    {"DROVER", "a Drover stream that something changed on its way"},
}};

std::string printable(std::span<const std::byte> bytes)
{
    constexpr char hex[] = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes.first(std::min(bytes.size(), preamble_size))) {
        const auto value = std::to_integer<unsigned>(byte);
        if (value >= 0x20 && value < 0x7f && value != '\\' && value != '"')
            text += static_cast<char>(value);
        else
            text += {'\\', 'x', hex[value >> 4], hex[value & 15]};
    }
    return text;
}

} // namespace

PreambleBytes encode_preamble(ConnectionRole role)
{
    PreambleBytes bytes;
    std::transform(magic.begin(), magic.end(), bytes.begin(),
                   [](unsigned char c) { return static_cast<std::byte>(c); });
    store_le(format_version, &bytes[8]);
    store_le(static_cast<uint32_t>(role), &bytes[12]);
    return bytes;
}

std::string describe_stranger(std::span<const std::byte> first_bytes)
{
    if (first_bytes.empty())
        return "a program that sends nothing";
    const std::string_view text(reinterpret_cast<const char*>(first_bytes.data()),
                                first_bytes.size());
    for (const Stranger& stranger : strangers)
        if (text.starts_with(stranger.first_bytes))
            return stranger.what;
    return "an unknown program (it sent \"" + printable(first_bytes) + "\")";
}

bool begins_with_magic(std::span<const std::byte, preamble_size> bytes)
{
    return std::equal(magic.begin(), magic.end(), bytes.begin(),
                      [](auto a, auto b) { return static_cast<std::byte>(a) == b; });
}

Error not_drover(std::span<const std::byte> first_bytes)
{
    return {ErrorKind::Protocol, "at the other end is " + describe_stranger(first_bytes),
            "both ends of a migration must be Drover"};
}

Result<ConnectionRole> decode_preamble(std::span<const std::byte, preamble_size> bytes)
{
    if (!begins_with_magic(bytes))
        return std::unexpected(not_drover(bytes));
    const uint32_t version = load_le<uint32_t>(&bytes[8]);
    if (version != format_version)
        return fail(ErrorKind::Incompatible,
                    "the peer speaks format " + std::to_string(version) +
                        " of the Drover stream, this side format " + std::to_string(format_version),
                    "use the same release of Drover on both hosts");
    const uint32_t role = load_le<uint32_t>(&bytes[12]);
    if (role < static_cast<uint32_t>(ConnectionRole::Control) ||
        role > static_cast<uint32_t>(ConnectionRole::Probe))
        return fail(ErrorKind::Protocol,
                    "the peer opened a connection of the unknown role " + std::to_string(role));
    return static_cast<ConnectionRole>(role);
}

} // namespace drover::stream
