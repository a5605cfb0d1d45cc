// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/state/described_field.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace drover::qemu {

/// One field of a device's state, and where in the stream it lies. Fields of structs, and
/// subsections, have members; what the description leaves opaque has none. Its texts are those of
/// the layout that it comes from.
struct StateField {
    std::string_view label; ///< its name, but for an array's index
    std::string_view type; ///< QEMU's word: "uint32", "buffer", "timer", "struct", "subsection", …
    uint64_t index = no_index;
    uint64_t at = 0;
    uint64_t size = 0;  ///< bytes, of all elements
    uint64_t count = 1; ///< of an array of equal elements
    std::vector<StateField> members;

    [[nodiscard]] std::string name() const; ///< such as "regs[1]"
    void append_name(std::string& text) const;
};

/// What QEMU's stream tells of its own layout: a JSON text behind it (docs/devel/migration,
/// "vmdesc") in which each device's fields have their names, types and sizes. So a stream of any
/// version is read without tables of layouts.
class StateLayout {
public:
    /// From the text, which `owner` keeps where it is; checks what is used of it.
    [[nodiscard]] static Result<std::shared_ptr<const StateLayout>>
    parse(std::string_view text, std::shared_ptr<const void> owner);

    /// The fields of a section that begins at `at`; nothing if the description does not know it.
    [[nodiscard]] Result<std::optional<StateField>> section(std::string_view name,
                                                            uint64_t instance, uint64_t at) const;
    [[nodiscard]] uint64_t page_size() const { return described_.page_size; } ///< bytes

private:
    Description described_;
    std::shared_ptr<const void> owner_;
    std::map<std::pair<std::string_view, uint64_t>, size_t> devices_; ///< by name and instance
};

} // namespace drover::qemu
