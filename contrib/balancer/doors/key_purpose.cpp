// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/key_purpose.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

namespace drover::balancer {

namespace {

using Bytes = std::span<const unsigned char>;

constexpr unsigned char tag_boolean = 0x01, tag_octets = 0x04, tag_oid = 0x06, tag_sequence = 0x30,
                        tag_extensions = 0xa3;
constexpr std::array<unsigned char, 3> extended_key_usage = {0x55, 0x1d, 0x25};
// 1.3.6.1.5.5.7.3.1 and .2
constexpr std::array<unsigned char, 8> server_auth = {0x2b, 6, 1, 5, 5, 7, 3, 1};
constexpr std::array<unsigned char, 8> client_auth = {0x2b, 6, 1, 5, 5, 7, 3, 2};

struct Element {
    unsigned char tag = 0;
    Bytes content;
};

/// Takes the first element off `bytes`; nothing if there is none, or it is cut off.
std::optional<Element> take(Bytes& bytes)
{
    if (bytes.size() < 2)
        return std::nullopt;
    const unsigned char tag = bytes[0];
    size_t size = bytes[1];
    size_t header = 2;
    if (size >= 0x80) {
        const size_t digits = size & 0x7f;
        header += digits;
        if (digits == 0 || digits > 4 || bytes.size() < header)
            return std::nullopt;
        size = 0;
        for (const unsigned char digit : bytes.subspan(2, digits))
            size = size << 8 | digit;
    }
    if (bytes.size() - header < size)
        return std::nullopt;
    const Element element{tag, bytes.subspan(header, size)};
    bytes = bytes.subspan(header + size);
    return element;
}

/// The content of the first element with this tag, those before it skipped; else empty.
Bytes find(Bytes bytes, unsigned char tag)
{
    while (const auto element = take(bytes)) {
        if (element->tag == tag)
            return element->content;
    }
    return {};
}

/// The extension's value (within its OCTET STRING) if `extension` is the wanted one.
Bytes value_of(Bytes extension, Bytes wanted)
{
    const auto oid = take(extension);
    if (!oid || oid->tag != tag_oid || !std::ranges::equal(oid->content, wanted))
        return {};
    auto value = take(extension);
    if (value && value->tag == tag_boolean) // "critical"
        value = take(extension);
    return value && value->tag == tag_octets ? value->content : Bytes{};
}

} // namespace

bool has_purpose(std::span<const unsigned char> der, KeyPurpose purpose)
{
    const Bytes signed_part = find(find(der, tag_sequence), tag_sequence);
    Bytes extensions = find(find(signed_part, tag_extensions), tag_sequence);
    const Bytes wanted = purpose == KeyPurpose::Server ? Bytes(server_auth) : Bytes(client_auth);
    while (const auto extension = take(extensions)) {
        Bytes purposes = find(value_of(extension->content, extended_key_usage), tag_sequence);
        while (const auto oid = take(purposes)) {
            if (oid->tag == tag_oid && std::ranges::equal(oid->content, wanted))
                return true;
        }
    }
    return false;
}

bool has_purpose(GTlsCertificate* certificate, KeyPurpose purpose)
{
    GByteArray* der = nullptr;
    g_object_get(certificate, "certificate", &der, nullptr);
    if (!der)
        return false;
    const std::unique_ptr<GByteArray, void (*)(GByteArray*)> owner(der, g_byte_array_unref);
    return has_purpose(Bytes(der->data, der->len), purpose);
}

} // namespace drover::balancer
