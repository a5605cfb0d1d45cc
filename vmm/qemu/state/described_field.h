// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace drover::qemu {

constexpr uint64_t no_index = UINT64_MAX;
constexpr int deepest_field = 32; ///< structs within structs

/// A device, a field or a subsection as QEMU's description tells of it. Behind each in a list are
/// those that are in it.
struct DescribedField {
    std::string_view name;
    std::string_view type; ///< of a device and a subsection: what QEMU calls its form
    uint64_t instance = 0; ///< of a device
    uint64_t size = 0;     ///< bytes, of one element
    uint64_t count = 1;    ///< elements of an array
    uint64_t index = no_index;
    size_t end = 0; ///< in the list: the first that is not in it
    bool is_subsection = false;
    bool has_size = false;
    bool has_members = false; ///< it is a struct of which the fields are told
};

/// All of a description, in the order of its text.
struct Description {
    uint64_t page_size = 4096; ///< bytes
    std::vector<DescribedField> fields;
    std::deque<std::string> rewritten; ///< names that stand in the text with escapes
};

/// Of a text that nobody vouches for: lists are where lists have to be, and no deeper than said.
/// The names are views into the text, and into `rewritten`.
[[nodiscard]] Result<Description> read_description(std::string_view text);

[[nodiscard]] std::unexpected<Error> bad_description(const std::string& what);

} // namespace drover::qemu
