// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/neutral_stream.h"

#include "vmm/qemu/state/blank_machine.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

using Bytes = std::vector<std::byte>;

LoadForm microvm_form()
{
    auto saved = save_blank_machine({"qemu-system-x86_64", "-nodefaults", "-no-user-config",
                                     "-display", "none", "-M", "microvm", "-m", "16"});
    auto file = saved ? FileBytes::of(std::move(*saved), "blank") : pass(saved);
    auto form = file ? read_load_form(*file) : pass(file);
    EXPECT_TRUE(form) << form.error().text();
    return form ? std::move(*form) : LoadForm();
}

/// What QEMU says of its sections stands behind its stream: a mark, four bytes of length, the text.
constexpr size_t description_head = 5;

Bytes description_of(const LoadForm& form)
{
    const auto size = static_cast<ptrdiff_t>(form.state.description_size + description_head);
    return {form.bytes.end() - size, form.bytes.end()};
}

TEST(NeutralStreamTest, IsOfTheFormThatWasLearntAndSpendsNoTimeOnADescription)
{
    const LoadForm form = microvm_form();
    const auto parts = neutral_of_stream(MemoryBytes(form.bytes));
    ASSERT_TRUE(parts) << parts.error().text();
    std::vector<std::string> changes;
    auto stream = stream_of_neutral(*parts, LoadForm(form), changes);
    ASSERT_TRUE(stream) << stream.error().text();

    constexpr std::string_view nothing = "{}";
    ASSERT_GT(stream->size(), description_head + nothing.size());
    const auto tail = std::as_bytes(std::span(nothing));
    EXPECT_TRUE(std::ranges::equal(std::span(*stream).last(nothing.size()), tail));

    stream->resize(stream->size() - description_head - nothing.size());
    const Bytes description = description_of(form);
    stream->insert(stream->end(), description.begin(), description.end());
    const auto again = read_load_form(MemoryBytes(*stream));
    ASSERT_TRUE(again) << again.error().text();
    ASSERT_EQ(again->sections.size(), form.sections.size());
    for (size_t i = 0; i < form.sections.size(); ++i) {
        EXPECT_EQ(again->sections[i].name, form.sections[i].name);
        EXPECT_EQ(again->sections[i].fields.size(), form.sections[i].fields.size());
    }
    const auto once_more = neutral_of_stream(MemoryBytes(*stream));
    ASSERT_TRUE(once_more) << once_more.error().text();
    EXPECT_EQ(once_more->size(), parts->size());
}

TEST(NeutralStreamTest, TheSameFormServesTwice)
{
    const LoadForm form = microvm_form();
    const auto parts = neutral_of_stream(MemoryBytes(form.bytes));
    ASSERT_TRUE(parts) << parts.error().text();
    std::vector<std::string> changes;
    const auto first = stream_of_neutral(*parts, LoadForm(form), changes);
    const auto second = stream_of_neutral(*parts, LoadForm(form), changes);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(*first, *second);
}

} // namespace
} // namespace drover::qemu
