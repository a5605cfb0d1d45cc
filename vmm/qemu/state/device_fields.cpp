// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/device_fields.h"

#include "vmm/qemu/state/device_bytes.h"

#include <algorithm>

namespace drover::qemu {

namespace {

constexpr unsigned bits_a_byte = 8;

/// Bytes of each of a field's values; 0: it holds no numbers.
size_t element_size(const state::DeviceField& field)
{
    const size_t size = field.count > 0 ? field.value.size() / field.count : 0;
    return size <= sizeof(uint64_t) && size * field.count == field.value.size() ? size : 0;
}

bool is_signed(const state::DeviceField& field)
{
    return field.type.starts_with("int") || field.type == "timer";
}

uint64_t number_at(const state::DeviceField& field, size_t which)
{
    const size_t size = element_size(field);
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i)
        value = value << bits_a_byte | field.value[which * size + i];
    const unsigned unused = static_cast<unsigned>(sizeof value - size) * bits_a_byte;
    if (!is_signed(field) || unused == 0 || size == 0)
        return value;
    return static_cast<uint64_t>(static_cast<int64_t>(value << unused) >> unused);
}

std::string form_of(const state::DeviceField& field)
{
    return std::to_string(field.count) + " of " + std::to_string(field.value.size()) + " bytes";
}

} // namespace

const state::DeviceField* FieldIndex::find(std::string_view name) const
{
    const state::DeviceField* found =
        next_ < fields_.size() && fields_[next_].name == name ? &fields_[next_] : look_up(name);
    if (found != nullptr)
        next_ = static_cast<size_t>(found - fields_.data()) + 1;
    return found;
}

/// An index costs more than a few searches do.
const state::DeviceField* FieldIndex::look_up(std::string_view name) const
{
    constexpr size_t few_searches = 8;
    if (++searches_ <= few_searches) {
        const auto found = std::ranges::find(fields_, name, &state::DeviceField::name);
        return found != fields_.end() ? &*found : nullptr;
    }
    if (places_.empty())
        for (size_t i = 0; i < fields_.size(); ++i)
            places_.emplace(fields_[i].name, i);
    const auto place = places_.find(name);
    return place != places_.end() ? &fields_[place->second] : nullptr;
}

const state::DeviceField* FieldReader::take(std::string_view name, size_t count)
{
    const state::DeviceField* field = index_.find(name);
    if (status_ && field == nullptr)
        status_ =
            fail(ErrorKind::Incompatible, device_.name + " has no field " + std::string(name));
    if (status_ && (field->count != count || element_size(*field) == 0))
        status_ = fail(ErrorKind::Incompatible, device_.name + " has in " + std::string(name) +
                                                    " not " + std::to_string(count) +
                                                    " numbers, but " + form_of(*field));
    if (!status_)
        return nullptr;
    dealt_with_[static_cast<size_t>(field - device_.fields.data())] = true;
    return field;
}

void FieldReader::take_numbers(std::string_view name, std::span<uint64_t> numbers)
{
    if (const state::DeviceField* field = take(name, numbers.size()))
        for (size_t i = 0; i < numbers.size(); ++i)
            numbers[i] = number_at(*field, i);
}

uint64_t FieldReader::get(std::string_view name)
{
    uint64_t number = 0;
    take_numbers(name, std::span(&number, 1));
    return number;
}

std::vector<uint64_t> FieldReader::get_list(std::string_view name, size_t count)
{
    std::vector<uint64_t> numbers(count);
    take_numbers(name, numbers);
    return numbers;
}

void FieldReader::pass_over(std::string_view name)
{
    const std::string inside = std::string(name) + "/";
    for (size_t i = 0; i < device_.fields.size(); ++i)
        if (device_.fields[i].name == name || device_.fields[i].name.starts_with(inside))
            dealt_with_[i] = true;
}

std::vector<std::string> FieldReader::left_over() const
{
    std::vector<std::string> names;
    for (size_t i = 0; i < device_.fields.size(); ++i)
        if (!dealt_with_[i] && device_.fields[i].type != subsection_type)
            names.push_back(device_.fields[i].name);
    return names;
}

void FieldWriter::set_element(std::string_view name, size_t which, size_t count, uint64_t value)
{
    const state::DeviceField* found = index_.find(name);
    if (found == nullptr) {
        if (status_ && value != 0)
            status_ =
                fail(ErrorKind::Incompatible, device_.name + " has no field " + std::string(name) +
                                                  " here, and the guest uses it");
        return;
    }
    state::DeviceField& field = device_.fields[static_cast<size_t>(found - device_.fields.data())];
    const size_t size = element_size(field);
    if (status_ && (field.count != count || size == 0))
        status_ = fail(ErrorKind::Incompatible, device_.name + " has in " + std::string(name) +
                                                    " not " + std::to_string(count) +
                                                    " numbers, but " + form_of(field));
    if (!status_)
        return;
    for (size_t i = 0; i < size; ++i)
        field.value[which * size + i] =
            static_cast<uint8_t>(value >> (bits_a_byte * (size - 1 - i)));
    if (status_ && number_at(field, which) != value && !is_signed(field))
        status_ = fail(ErrorKind::Incompatible, device_.name + " has no room for " +
                                                    std::to_string(value) + " in " +
                                                    std::string(name) + " here");
}

} // namespace drover::qemu
