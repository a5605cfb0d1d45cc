// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/qemu_state.h"

#include "state_bytes.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <glib.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

using drover::testing::small_state;
using drover::testing::StateBytes;

std::string complaint_of(const std::string& text)
{
    const MemoryBytes source(std::as_bytes(std::span(text)));
    const auto state = read_qemu_state(source);
    return state ? "none" : state.error().text();
}

std::string replaced(std::string text, const std::string& from, const std::string& to)
{
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

TEST(QemuStateTest, TellsWhatAStreamHolds)
{
    const StateBytes bytes = small_state();
    const MemoryBytes source(bytes.bytes());
    const auto state = read_qemu_state(source);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ(state->machine, "test");
    EXPECT_EQ(state->capabilities, std::vector<std::string>{"xbzrle"});
    ASSERT_EQ(state->ram.size(), 1U);
    const SavedRam& ram = state->ram[0];
    EXPECT_EQ(ram.name, "pc.ram");
    EXPECT_EQ(ram.size, 0x10000U);
    EXPECT_EQ(ram.zero, 1U);
    EXPECT_EQ(ram.raw, 1U);
    EXPECT_EQ(ram.delta, 1U);
    EXPECT_EQ(ram.bytes, (8U + 7 + 1) + (8 + 4096) + (8 + 3 + 3));
    ASSERT_EQ(state->sections.size(), 1U);
    EXPECT_EQ(state->sections[0].version, 5U);
}

TEST(QemuStateTest, GivesEachFieldItsValue)
{
    const StateBytes bytes = small_state();
    const MemoryBytes source(bytes.bytes());
    const auto state = read_qemu_state(source);
    ASSERT_TRUE(state) << state.error().text();
    const auto json = to_json(*state, source);
    ASSERT_TRUE(json) << json.error().text();
    EXPECT_EQ((*json)["sections"][0]["state"], Json::parse(R"({"ticks": -1, "on": true,
        "blob": "12ab", "list": [7, 8], "part[0]": {"id": 17}, "part[1]": {"id": 34},
        "clock/more": {"extra": 153}})"));
    EXPECT_TRUE((*to_json(*state, source, "another"))["sections"].empty());
}

TEST(QemuStateTest, FindsTheStreamInAFileOfVirshs)
{
    std::string header = "LibvirtQemudSave";
    for (const uint32_t number : {2U, 9U, 1U, 0U, 0U})
        header.append(reinterpret_cast<const char*>(&number), sizeof number);
    header.resize(92);
    EXPECT_EQ(complaint_of(header + "<domain/>" + small_state().text()), "none");
    header[28] = 1; // by gzip
    EXPECT_NE(complaint_of(header + "<domain/>" + small_state().text()).find("compressed"),
              std::string::npos);
}

TEST(QemuStateTest, SaysWhatItDoesNotRead)
{
    const std::string good = small_state().text();
    EXPECT_NE(complaint_of("ELF").find("no QEMU migration stream"), std::string::npos);
    EXPECT_NE(complaint_of(good.substr(0, good.size() - 1)).find("cut off"), std::string::npos);
    EXPECT_NE(complaint_of(replaced(good, R"("name": "clock")", R"("name": "watch")"))
                  .find("clock is not described"),
              std::string::npos);
    // A size that is not the section's: its end is not where it has to be.
    EXPECT_NE(complaint_of(replaced(good, R"("type": "buffer", "size": 2)",
                                    R"("type": "buffer", "size": 3)"))
                  .find("does not end where"),
              std::string::npos);
    StateBytes compressed;
    compressed.number(8, 0x1000 | 0x100 | 0x20);
    StateBytes raw;
    raw.number(8, 0x1000 | 0x08 | 0x20);
    EXPECT_NE(complaint_of(replaced(good, raw.text(), compressed.text())).find("compressed"),
              std::string::npos);
}

TEST(QemuStateTest, ASructWhoseMembersDoNotFillItStaysOpaque)
{
    const std::string text =
        replaced(small_state().text(), R"([{"name": "id", "type": "uint8", "size": 1}])",
                 R"([{"name": "id", "type": "uint8", "size": 0}])");
    const MemoryBytes source(std::as_bytes(std::span(text)));
    const auto state = read_qemu_state(source);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ((*to_json(*state, source))["sections"][0]["state"]["part[1]"], "22");
}

/// The small state with another description, whose length changes with it.
std::string described_anew(const std::string& from, const std::string& to)
{
    const std::string good = small_state().text();
    const std::string json = good.substr(good.find("{\"page_size\""));
    StateBytes out;
    out.raw(good.substr(0, good.size() - json.size() - 6)).description(replaced(json, from, to));
    return out.text();
}

TEST(QemuStateTest, TheOrderInWhichAFieldIsToldDoesNotMatter)
{
    const std::string text = described_anew(
        R"({"name": "list", "array_len": 2, "type": "uint16", "size": 2})",
        R"({"size": 2, "more": [{"name": "no"}], "type": "uint16", "array_len": 2, "name": "l\u0069st"})");
    const MemoryBytes source(std::as_bytes(std::span(text)));
    const auto state = read_qemu_state(source);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ((*to_json(*state, source))["sections"][0]["state"]["list"], Json::parse("[7, 8]"));
}

TEST(QemuStateTest, ALongDescriptionIsFoundInAFileAndInMemory)
{
    const std::string text = described_anew(
        R"("devices": )", R"("more": ")" + std::string(3 << 20, 'x') + R"(", "devices": )");
    EXPECT_EQ(complaint_of(text), "none");
    char path[] = "/tmp/drover-state-XXXXXX";
    const UniqueFd file(mkstemp(path));
    std::filesystem::remove(path);
    ASSERT_EQ(write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    auto copy = file.duplicate();
    ASSERT_TRUE(copy);
    auto source = FileBytes::of(std::move(*copy), "long");
    ASSERT_TRUE(source);
    const auto state = read_qemu_state(*source);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ(state->sections.size(), 1U);
}

TEST(QemuStateTest, WhatIsTooMuchIsRefused)
{
    const auto with = [](const std::string& from, const std::string& to) {
        return complaint_of(described_anew(from, to));
    };
    EXPECT_NE(
        with(R"("array_len": 2, "type": "struct")", R"("array_len": 2000000000, "type": "struct")")
            .find("no possible size"),
        std::string::npos);
    EXPECT_NE(with(R"("array_len": 2, "type": "struct", "size": 1)",
                   R"("array_len": 5000000, "type": "struct", "size": 1)")
                  .find("more than a million fields"),
              std::string::npos);
    std::string nested = R"({"name": "deep", "size": 0})";
    for (int i = 0; i < 40; ++i)
        nested = R"({"name": "deep", "size": 0, "struct": {"fields": [)" + nested + "]}}";
    for (const std::string& bad :
         {nested, std::string(R"({"name": "no size"})"), std::string(R"("no object")"),
          std::string(R"({"size": 0, "struct": {"fields": []}, "fields": []})"),
          std::string(R"({"size": 0, "fields": [], "fields": []})")})
        EXPECT_NE(with(R"("fields": [)", R"("fields": [)" + bad + ", ").find("description"),
                  std::string::npos)
            << bad;
    EXPECT_NE(with(R"("fields": [)", R"("fields": 7, "more": [)").find("description"),
              std::string::npos);
    EXPECT_NE(with(R"("page_size": 4096)", R"("page_size": 4095)").find("description"),
              std::string::npos);
}

/// A stock QEMU's own file, of whatever version there is here.
TEST(QemuStateTest, ReadsWhatQemuWrites)
{
    char path[] = "/tmp/drover-state-XXXXXX";
    close(mkstemp(path));
    const std::string migrate = "migrate exec:cat>" + std::string(path) + "\n";
    const std::string command =
        "printf '%s' '" + migrate +
        "info migrate\nquit\n' | qemu-system-x86_64 -nodefaults -display none "
        "-m 16 -S -M q35 -smp 2 -accel tcg -device virtio-balloon-pci -device virtio-scsi-pci "
        "-monitor stdio >/dev/null";
    const char* words[] = {"/bin/sh", "-c", command.c_str(), nullptr};
    gint status = -1;
    ASSERT_TRUE(g_spawn_sync(nullptr, const_cast<gchar**>(words), nullptr, G_SPAWN_DEFAULT, nullptr,
                             nullptr, nullptr, nullptr, &status, nullptr));
    ASSERT_EQ(status, 0);
    auto file = FileBytes::open(path);
    ASSERT_TRUE(file) << file.error().text();
    const auto state = read_qemu_state(*file);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_TRUE(state->machine.starts_with("pc-q35-")) << state->machine;
    const auto ram = std::ranges::find(state->ram, "pc.ram", &SavedRam::name);
    ASSERT_NE(ram, state->ram.end());
    EXPECT_EQ(ram->size, 16U << 20);
    EXPECT_GE(ram->raw + ram->zero, 4096U);
    const auto json = to_json(*state, *file);
    ASSERT_TRUE(json) << json.error().text();
    std::filesystem::remove(path);
}

} // namespace
} // namespace drover::qemu
