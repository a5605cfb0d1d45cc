// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/field_reader.h"

#include <algorithm>

namespace drover::qemu {

namespace {

constexpr uint64_t largest_field = 1 << 20; // bytes, of what has numbers

std::string in_words(FieldReader::Path path)
{
    std::string text;
    for (const std::string_view name : path)
        text += (text.empty() ? "" : " ") + std::string(name);
    return text;
}

} // namespace

const StateField* FieldReader::find(Path path) const
{
    const StateField* at = &section_;
    for (const std::string_view name : path) {
        const auto found = std::ranges::find(at->members, name, &StateField::name);
        if (found == at->members.end())
            return nullptr;
        at = &*found;
    }
    return at;
}

std::vector<uint64_t> FieldReader::take(Path path)
{
    const StateField* field = find(path);
    const uint64_t element = field != nullptr && field->count > 0 ? field->size / field->count : 0;
    if (status_ && (element == 0 || element > sizeof(uint64_t) || field->size > largest_field ||
                    !field->members.empty()))
        status_ = fail(ErrorKind::Incompatible, section_.name + " has no number " + in_words(path));
    std::vector<uint64_t> numbers;
    if (!status_)
        return numbers;
    dealt_with_.insert(field);
    ByteCursor cursor(source_, field->at);
    for (uint64_t i = 0; i < field->count; ++i)
        numbers.push_back(cursor.integer(static_cast<unsigned>(element)));
    status_ = cursor.status();
    return numbers;
}

uint64_t FieldReader::number(Path path)
{
    const auto values = numbers(path, 1);
    return values.front();
}

std::vector<uint64_t> FieldReader::numbers(Path path, size_t count)
{
    auto values = take(path);
    if (status_ && values.size() != count)
        status_ = fail(ErrorKind::Incompatible,
                       section_.name + " has " + std::to_string(values.size()) + " numbers " +
                           in_words(path) + ", and not " + std::to_string(count));
    values.resize(count);
    return values;
}

void FieldReader::pass_over(Path path)
{
    if (const StateField* field = find(path))
        dealt_with_.insert(field);
}

void FieldReader::collect_left_over(const StateField& field, const std::string& prefix,
                                    std::vector<std::string>& names) const
{
    if (dealt_with_.contains(&field))
        return;
    const std::string name = prefix.empty() ? field.name : prefix + " " + field.name;
    if (field.members.empty())
        names.push_back(name);
    for (const StateField& member : field.members)
        collect_left_over(member, name, names);
}

std::vector<std::string> FieldReader::left_over() const
{
    std::vector<std::string> names;
    for (const StateField& member : section_.members)
        collect_left_over(member, {}, names);
    return names;
}

} // namespace drover::qemu
