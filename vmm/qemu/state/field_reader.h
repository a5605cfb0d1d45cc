// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/state/qemu_state.h"

#include <set>

namespace drover::qemu {

/// Takes values out of a section by their names, and remembers which: no field of a device may be
/// dropped without a word. Once something is not there, or has another form, all that is taken is
/// zero; status() tells what it was.
class FieldReader {
public:
    FieldReader(const StateField& section, const ByteSource& source)
        : section_(section), source_(source)
    {
    }

    [[nodiscard]] const Status& status() const { return status_; }
    /// By names from the section inwards.
    using Path = std::initializer_list<std::string_view>;
    [[nodiscard]] bool has(Path path) const { return find(path) != nullptr; }
    [[nodiscard]] uint64_t number(Path path);
    [[nodiscard]] std::vector<uint64_t> numbers(Path path, size_t count);
    /// Notes a field as dealt with, and all in it; none is no error.
    void pass_over(Path path);
    /// The fields that were neither taken nor passed over, with what they are in: "cpu/x env.y".
    [[nodiscard]] std::vector<std::string> left_over() const;

private:
    [[nodiscard]] const StateField* find(Path path) const;
    [[nodiscard]] std::vector<uint64_t> take(Path path);
    void collect_left_over(const StateField& field, const std::string& prefix,
                           std::vector<std::string>& names) const;

    const StateField& section_;
    const ByteSource& source_;
    Status status_;
    std::set<const StateField*> dealt_with_;
};

} // namespace drover::qemu
