// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/byte_source.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace drover::qemu {

/// One field of a device's state, and where in the stream it lies. Fields of structs, and
/// subsections, have members; what the description leaves opaque has none.
struct StateField {
    std::string name;
    std::string type; ///< QEMU's word: "uint32", "buffer", "timer", "struct", "subsection", …
    uint64_t at = 0;
    uint64_t size = 0;  ///< bytes, of all elements
    uint64_t count = 1; ///< of an array of equal elements
    std::vector<StateField> members;
};

/// What QEMU's stream tells of its own layout: a JSON text behind it (docs/devel/migration,
/// "vmdesc") in which each device's fields have their names, types and sizes. So a stream of any
/// version is read without tables of layouts.
class StateLayout {
public:
    /// From the text; checks what is used of it.
    [[nodiscard]] static Result<StateLayout> parse(std::string_view text);

    /// The fields of a section that begins at `at`; nothing if the description does not know it.
    [[nodiscard]] Result<std::optional<StateField>> section(const std::string& name,
                                                            uint64_t instance, uint64_t at) const;
    [[nodiscard]] uint64_t page_size() const { return page_size_; } ///< bytes

private:
    uint64_t page_size_ = 4096;
    std::map<std::pair<std::string, uint64_t>, Json> devices_; ///< by name and instance
};

} // namespace drover::qemu
