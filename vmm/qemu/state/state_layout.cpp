// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/state_layout.h"

#include <algorithm>
#include <span>

namespace drover::qemu {

namespace {

constexpr uint64_t most_fields = 1'000'000;    // of a section, arrays' elements counted
constexpr uint64_t largest_section = 1U << 30; // bytes

/// Walks the description of one section; `at_` is where the field to come begins.
class LayoutWalk {
public:
    LayoutWalk(std::span<const DescribedField> described, uint64_t at)
        : described_(described), at_(at)
    {
    }

    /// Fields, and behind them subsections, whatever their order in the description.
    Result<std::vector<StateField>> members_of(size_t owner)
    {
        std::vector<StateField> members;
        members.reserve(count_members(owner));
        for (const auto step : {&LayoutWalk::add, &LayoutWalk::add_subsection})
            for (size_t i = owner + 1; i < described_[owner].end; i = described_[i].end)
                if (described_[i].is_subsection == (step == &LayoutWalk::add_subsection))
                    if (const Status added = (this->*step)(i, members); !added)
                        return std::unexpected(added.error());
        return members;
    }
    [[nodiscard]] uint64_t at() const { return at_; }

private:
    [[nodiscard]] size_t count_members(size_t owner) const
    {
        size_t count = 0;
        for (size_t i = owner + 1; i < described_[owner].end; i = described_[i].end)
            ++count;
        return count;
    }

    Status add(size_t place, std::vector<StateField>& fields)
    {
        const DescribedField& told = described_[place];
        if (told.size > largest_section || told.count > largest_section ||
            told.size * told.count > largest_section)
            return bad_description("the field " + std::string(told.name) + " has no possible size");
        // An array of structs is told by its first; one of plain values is one field.
        const uint64_t times = told.has_members ? told.count : std::min<uint64_t>(told.count, 1);
        for (uint64_t i = 0; i < times; ++i) {
            if (++fields_ > most_fields)
                return bad_description("more than a million fields");
            StateField field = {.label = told.name,
                                .type = told.type,
                                .index = told.has_members && told.count > 1 ? i : told.index,
                                .at = at_,
                                .size = told.has_members ? told.size : told.size * told.count,
                                .count = told.has_members ? 1 : told.count,
                                .members = {}};
            if (told.has_members)
                if (const Status done = add_members(place, field); !done)
                    return done;
            at_ = field.at + field.size;
            fields.push_back(std::move(field));
        }
        return {};
    }

    /// Members that do not fill the struct were not all told: then it stays opaque.
    Status add_members(size_t place, StateField& field)
    {
        auto members = members_of(place);
        if (!members)
            return std::unexpected(members.error());
        if (at_ == field.at + field.size)
            field.members = std::move(*members);
        return {};
    }

    Status add_subsection(size_t place, std::vector<StateField>& fields)
    {
        const std::string_view name = described_[place].name;
        if (++fields_ > most_fields)
            return bad_description("more than a million fields");
        if (name.size() > 255)
            return bad_description("a subsection without a name");
        StateField field = {
            .label = name, .type = "subsection", .at = at_, .size = 0, .members = {}};
        at_ += 1 + 1 + name.size() + 4; // its mark, the name's length, the name, its version
        auto members = members_of(place);
        if (!members)
            return std::unexpected(members.error());
        field.size = at_ - field.at;
        field.members = std::move(*members);
        fields.push_back(std::move(field));
        return {};
    }

    std::span<const DescribedField> described_;
    uint64_t at_;
    uint64_t fields_ = 0;
};

} // namespace

std::string StateField::name() const
{
    std::string text;
    append_name(text);
    return text;
}

void StateField::append_name(std::string& text) const
{
    text += label;
    if (index != no_index)
        text += "[" + std::to_string(index) + "]";
}

Result<std::shared_ptr<const StateLayout>> StateLayout::parse(std::string_view text,
                                                              std::shared_ptr<const void> owner)
{
    auto described = read_description(text);
    if (!described)
        return std::unexpected(described.error());
    auto layout = std::make_shared<StateLayout>();
    layout->described_ = std::move(*described);
    layout->owner_ = std::move(owner);
    const auto& fields = layout->described_.fields;
    for (size_t i = 0; i < fields.size(); i = fields[i].end)
        layout->devices_.try_emplace(std::pair(fields[i].name, fields[i].instance), i);
    return layout;
}

Result<std::optional<StateField>> StateLayout::section(std::string_view name, uint64_t instance,
                                                       uint64_t at) const
{
    const auto found = devices_.find({name, instance});
    if (found == devices_.end())
        return std::nullopt;
    const DescribedField& device = described_.fields[found->second];
    LayoutWalk walk(described_.fields, at);
    auto fields = walk.members_of(found->second);
    if (!fields)
        return std::unexpected(std::move(fields.error()).in(name));
    return StateField{.label = device.name,
                      .type = device.type,
                      .at = at,
                      .size = walk.at() - at,
                      .members = std::move(*fields)};
}

} // namespace drover::qemu
