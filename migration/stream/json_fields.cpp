// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/json_fields.h"

#include <algorithm>

namespace drover::stream {

namespace {

const Json& empty_object()
{
    static const Json empty = Json::object();
    return empty;
}

const Json& empty_list()
{
    static const Json empty = Json::array();
    return empty;
}

std::string range(uint64_t smallest, uint64_t largest)
{
    return std::to_string(smallest) + " to " + std::to_string(largest);
}

} // namespace

JsonFields::JsonFields(const Json& value, std::string path)
    : object_(value.is_object() ? value : empty_object()), path_(std::move(path))
{
    if (!value.is_object())
        fail(Error{ErrorKind::Protocol, path_ + " is not an object", {}});
}

const Json* JsonFields::member(const char* key, bool (Json::*is_type)() const noexcept,
                               const char* type)
{
    const auto at = object_.find(key);
    if (at != object_.end() && ((*at).*is_type)())
        return &*at;
    fail(key, std::string(at == object_.end() ? "is missing" : "is not ") +
                  (at == object_.end() ? "" : type));
    return nullptr;
}

const Json& JsonFields::object(const char* key)
{
    const Json* value = member(key, &Json::is_object, "an object");
    return value ? *value : empty_object();
}

const Json& JsonFields::list(const char* key, size_t smallest, size_t largest)
{
    const Json* value = member(key, &Json::is_array, "a list");
    if (!value)
        return empty_list();
    if (value->size() >= smallest && value->size() <= largest)
        return *value;
    fail(key, "has " + std::to_string(value->size()) + " entries; allowed are " +
                  range(smallest, largest));
    return empty_list();
}

bool JsonFields::boolean(const char* key)
{
    const Json* value = member(key, &Json::is_boolean, "a boolean");
    return value && value->get<bool>();
}

uint64_t JsonFields::number(const char* key, uint64_t smallest, uint64_t largest)
{
    // "Unsigned" is how the parser marks whole numbers that are not negative.
    const Json* value = member(key, &Json::is_number_unsigned, "a whole number");
    if (!value)
        return smallest;
    const auto number = value->get<uint64_t>();
    if (number >= smallest && number <= largest)
        return number;
    fail(key, "is " + std::to_string(number) + "; allowed are " + range(smallest, largest));
    return smallest;
}

std::string JsonFields::text(const char* key, size_t largest)
{
    const Json* value = member(key, &Json::is_string, "a text");
    if (!value)
        return {};
    const auto& text = value->get_ref<const std::string&>();
    const bool printable = std::none_of(text.begin(), text.end(),
                                        [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (printable && !text.empty() && text.size() <= largest)
        return text;
    fail(key, printable ? "has " + std::to_string(text.size()) + " bytes; allowed are " +
                              range(1, largest)
                        : "contains control characters");
    return {};
}

void JsonFields::fail(const char* key, const std::string& why)
{
    fail(Error{ErrorKind::Protocol, path_ + "." + key + " " + why, {}});
}

void JsonFields::fail(std::optional<Error> error)
{
    if (!error_)
        error_ = std::move(error);
}

} // namespace drover::stream
