// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

/// How the content of a page is put on the wire (docs/stream-format.md, "Pages").
namespace drover::stream {

/// Wire numbers: frozen, never reused.
enum class PageEncoding : uint8_t {
    Raw = 0,      ///< the pages' bytes follow in the data part
    Zero = 1,     ///< all bytes are zero
    Hole = 2,     ///< was never written, or given back: reads as zero, no memory is to be used
    Repeated = 3, ///< one 64-bit word over and over
    Lz4 = 4,      ///< within the frame's LZ4 block
    Zstd = 5,     ///< within the frame's zstd frame
    Delta = 6,    ///< what has changed since it was sent last (page_delta.h)
};
inline constexpr size_t page_encodings = 7;

/// "raw", "zero", …: as QMP shows them.
[[nodiscard]] std::string_view to_string(PageEncoding encoding);

/// A set of encodings: what a peer may send, or takes.
class EncodingSet {
public:
    constexpr EncodingSet() = default;
    constexpr EncodingSet(std::initializer_list<PageEncoding> encodings)
    {
        for (const PageEncoding encoding : encodings)
            add(encoding);
    }
    constexpr void add(PageEncoding encoding) { bits_ |= bit(encoding); }
    constexpr void remove(PageEncoding encoding) { bits_ &= ~bit(encoding); }
    [[nodiscard]] constexpr bool has(PageEncoding encoding) const
    {
        return (bits_ & bit(encoding)) != 0;
    }
    friend constexpr bool operator==(EncodingSet, EncodingSet) = default;

private:
    static constexpr uint32_t bit(PageEncoding encoding)
    {
        return 1U << static_cast<unsigned>(encoding);
    }
    uint32_t bits_ = 0;
};

/// What needs no optional feature.
inline constexpr EncodingSet plain_encodings{PageEncoding::Raw, PageEncoding::Zero,
                                             PageEncoding::Hole};
inline constexpr EncodingSet all_encodings{
    PageEncoding::Raw, PageEncoding::Zero, PageEncoding::Hole, PageEncoding::Repeated,
    PageEncoding::Lz4, PageEncoding::Zstd, PageEncoding::Delta};

/// The plain ones, and those whose features were agreed on.
[[nodiscard]] EncodingSet encodings_of(std::span<const std::string> features);

/// The optional features of encodings, in the order of the encodings' numbers.
struct EncodingFeature {
    PageEncoding encoding;
    std::string_view feature;
};
[[nodiscard]] std::span<const EncodingFeature> encoding_features();

} // namespace drover::stream
