// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/page_encoding.h"

#include "migration/stream/hello.h"

#include <algorithm>

namespace drover::stream {

namespace {

constexpr std::array<EncodingFeature, 4> optional_encodings = {{
    {PageEncoding::Repeated, feature::repeated_pages},
    {PageEncoding::Lz4, feature::lz4_pages},
    {PageEncoding::Zstd, feature::zstd_pages},
    {PageEncoding::Delta, feature::delta_pages},
}};

constexpr std::array<std::string_view, page_encodings> encoding_names = {
    "raw", "zero", "hole", "repeated", "lz4", "zstd", "delta"};

} // namespace

std::string_view to_string(PageEncoding encoding)
{
    return encoding_names[static_cast<size_t>(encoding)];
}

EncodingSet encodings_of(std::span<const std::string> features)
{
    EncodingSet encodings = plain_encodings;
    for (const EncodingFeature& optional : optional_encodings)
        if (std::ranges::find(features, optional.feature) != features.end())
            encodings.add(optional.encoding);
    return encodings;
}

std::span<const EncodingFeature> encoding_features()
{
    return optional_encodings;
}

} // namespace drover::stream
