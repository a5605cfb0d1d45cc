// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/state_layout.h"

#include <algorithm>
#include <bit>

namespace drover::qemu {

namespace {

constexpr int deepest_field = 32;
constexpr uint64_t most_fields = 1'000'000;    // of a section, arrays' elements counted
constexpr uint64_t largest_section = 1U << 30; // bytes
constexpr uint64_t largest_page = 1U << 16;

std::unexpected<Error> bad_layout(const std::string& what)
{
    return fail(ErrorKind::Protocol, "the stream's description of itself is wrong: " + what);
}

/// Walks the description of one section; `at_` is where the field to come begins.
class LayoutWalk {
public:
    explicit LayoutWalk(uint64_t at) : at_(at) {}

    Result<std::vector<StateField>> fields_of(const Json& owner, int depth)
    {
        std::vector<StateField> fields;
        if (depth > deepest_field)
            return bad_layout("structs within structs without an end");
        const auto list = owner.find("fields");
        if (list != owner.end())
            for (const Json& entry : *list)
                if (const Status added = add(entry, depth, fields); !added)
                    return std::unexpected(added.error());
        const auto subsections = owner.find("subsections");
        if (subsections != owner.end())
            for (const Json& entry : *subsections)
                if (const Status added = add_subsection(entry, depth, fields); !added)
                    return std::unexpected(added.error());
        return fields;
    }
    [[nodiscard]] uint64_t at() const { return at_; }

private:
    Status add(const Json& entry, int depth, std::vector<StateField>& fields)
    {
        if (!entry.is_object() || !entry.contains("size"))
            return bad_layout("a field without a size");
        const uint64_t size = json_u64(entry, "size", largest_section + 1);
        const uint64_t count = entry.contains("array_len") ? json_u64(entry, "array_len", 0) : 1;
        if (size > largest_section || count > largest_section || size * count > largest_section)
            return bad_layout("the field " + json_string(entry, "name") + " has no possible size");
        const Json* inner = struct_of(entry);
        // An array of structs is told by its first; one of plain values is one field.
        for (uint64_t i = 0; i < (inner != nullptr ? count : std::min<uint64_t>(count, 1)); ++i) {
            if (++fields_ > most_fields)
                return bad_layout("more than a million fields");
            StateField field = {.name = json_string(entry, "name"),
                                .type = json_string(entry, "type"),
                                .at = at_,
                                .size = inner != nullptr ? size : size * count,
                                .count = inner != nullptr ? 1 : count,
                                .members = {}};
            if (count > 1 && inner != nullptr)
                field.name += "[" + std::to_string(i) + "]";
            else if (entry.contains("index"))
                field.name += "[" + std::to_string(json_u64(entry, "index")) + "]";
            if (inner != nullptr)
                if (const Status done = add_members(*inner, depth, field); !done)
                    return done;
            at_ = field.at + field.size;
            fields.push_back(std::move(field));
        }
        return {};
    }

    /// Members that do not fill the struct were not all told: then it stays opaque.
    Status add_members(const Json& inner, int depth, StateField& field)
    {
        auto members = fields_of(inner, depth + 1);
        if (!members)
            return std::unexpected(members.error());
        if (at_ == field.at + field.size)
            field.members = std::move(*members);
        return {};
    }

    Status add_subsection(const Json& entry, int depth, std::vector<StateField>& fields)
    {
        const std::string name = json_string(entry, "vmsd_name");
        if (!entry.is_object() || name.size() > 255)
            return bad_layout("a subsection without a name");
        StateField field = {
            .name = name, .type = "subsection", .at = at_, .size = 0, .members = {}};
        at_ += 1 + 1 + name.size() + 4; // its mark, the name's length, the name, its version
        auto members = fields_of(entry, depth + 1);
        if (!members)
            return std::unexpected(members.error());
        field.size = at_ - field.at;
        field.members = std::move(*members);
        fields.push_back(std::move(field));
        return {};
    }

    /// Where a field's own fields are told: in "struct", or in itself (a versioned struct).
    static const Json* struct_of(const Json& entry)
    {
        const auto inner = entry.find("struct");
        if (inner != entry.end() && inner->is_object())
            return &*inner;
        return entry.contains("fields") ? &entry : nullptr;
    }

    uint64_t at_;
    uint64_t fields_ = 0;
};

/// Lists where lists have to be, so that walking needs not ask.
bool has_lists(const Json& node)
{
    for (const char* key : {"fields", "subsections"}) {
        const auto list = node.find(key);
        if (list != node.end() &&
            (!list->is_array() || !std::ranges::all_of(*list, [](const Json& entry) {
                return entry.is_object() && has_lists(entry) &&
                       (!entry.contains("struct") || has_lists(entry["struct"]));
            })))
            return false;
    }
    return true;
}

} // namespace

Result<StateLayout> StateLayout::parse(std::string_view text)
{
    auto json = parse_json(text);
    if (!json)
        return std::unexpected(std::move(json.error()).in("the stream's description of itself"));
    const auto devices = json->find("devices");
    if (!json->is_object() || devices == json->end() || !devices->is_array())
        return bad_layout("it names no devices");
    StateLayout layout;
    layout.page_size_ = json_u64(*json, "page_size", layout.page_size_);
    if (!std::has_single_bit(layout.page_size_) || layout.page_size_ > largest_page)
        return bad_layout("pages of " + std::to_string(layout.page_size_) + " bytes");
    for (Json& device : *devices) {
        if (!device.is_object() || !has_lists(device))
            return bad_layout("a device without a form");
        const auto key = std::pair(json_string(device, "name"), json_u64(device, "instance_id"));
        layout.devices_.try_emplace(key, std::move(device));
    }
    return layout;
}

Result<std::optional<StateField>> StateLayout::section(const std::string& name, uint64_t instance,
                                                       uint64_t at) const
{
    const auto found = devices_.find({name, instance});
    if (found == devices_.end())
        return std::nullopt;
    LayoutWalk walk(at);
    auto fields = walk.fields_of(found->second, 0);
    if (!fields)
        return std::unexpected(std::move(fields.error()).in(name));
    return StateField{.name = name,
                      .type = json_string(found->second, "vmsd_name"),
                      .at = at,
                      .size = walk.at() - at,
                      .members = std::move(*fields)};
}

} // namespace drover::qemu
