// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/device.h"
#include "util/result.h"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace drover::qemu {

/// A function that maps a device's fields to a part of the neutral state is written once, for
/// either direction: with a FieldReader it fills the part, with a FieldWriter the device. Once a
/// field is not there, or has another form, status() tells which, and what is read is zero.
class FieldIndex {
public:
    explicit FieldIndex(const state::Device& device) : fields_(device.fields) {}
    /// The first of this name, or null; but of several of one name that are asked for in their
    /// order each in its turn.
    [[nodiscard]] const state::DeviceField* find(std::string_view name) const;

private:
    [[nodiscard]] const state::DeviceField* look_up(std::string_view name) const;

    const std::vector<state::DeviceField>& fields_;
    mutable size_t next_ = 0;     ///< fields are mostly asked for in their order
    mutable size_t searches_ = 0; ///< that were not
    mutable std::unordered_map<std::string_view, size_t> places_; ///< made when there are many
};

/// Takes values out of a device by their names, and remembers which: no field of a device may be
/// dropped without a word.
class FieldReader {
public:
    static constexpr bool writes = false;

    explicit FieldReader(const state::Device& device)
        : device_(device), index_(device), dealt_with_(device.fields.size())
    {
    }

    [[nodiscard]] const Status& status() const { return status_; }
    [[nodiscard]] bool has(std::string_view name) const { return index_.find(name) != nullptr; }
    /// Signed ones are extended.
    [[nodiscard]] uint64_t get(std::string_view name);
    template <class T> void number(std::string_view name, T& value)
    {
        value = static_cast<T>(get(name));
    }
    template <class T, size_t N> void list(std::string_view name, std::array<T, N>& values)
    {
        std::array<uint64_t, N> numbers = {};
        take_numbers(name, numbers);
        for (size_t i = 0; i < N; ++i)
            values[i] = static_cast<T>(numbers[i]);
    }
    [[nodiscard]] std::vector<uint64_t> get_list(std::string_view name, size_t count);
    /// Notes a field as dealt with, and all that is in it; none is no error.
    void pass_over(std::string_view name);
    /// The fields that were neither taken nor passed over.
    [[nodiscard]] std::vector<std::string> left_over() const;

private:
    void take_numbers(std::string_view name, std::span<uint64_t> numbers);
    [[nodiscard]] const state::DeviceField* take(std::string_view name, size_t count);

    const state::Device& device_;
    FieldIndex index_;
    Status status_;
    std::vector<bool> dealt_with_; ///< by the field's place
};

/// Gives fields of a device other values. What it does not have can only be left zero.
class FieldWriter {
public:
    static constexpr bool writes = true;

    explicit FieldWriter(state::Device& device) : device_(device), index_(device) {}

    [[nodiscard]] const Status& status() const { return status_; }
    [[nodiscard]] bool has(std::string_view name) const { return index_.find(name) != nullptr; }
    void set(std::string_view name, uint64_t value) { set_element(name, 0, 1, value); }
    template <class T> void number(std::string_view name, const T& value)
    {
        set(name, static_cast<uint64_t>(value));
    }
    template <class T, size_t N> void list(std::string_view name, const std::array<T, N>& values)
    {
        for (size_t i = 0; i < N; ++i)
            set_element(name, i, N, static_cast<uint64_t>(values[i]));
    }
    void set_element(std::string_view name, size_t which, size_t count, uint64_t value);
    void pass_over(std::string_view /*name*/) {}

private:
    state::Device& device_;
    FieldIndex index_;
    Status status_;
};

} // namespace drover::qemu
