// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/xen_save.h"

#include "vmm/xen/state/hvm_vcpu.h"
#include "xen_bytes.h"

#include <cstdio>
#include <gtest/gtest.h>
#include <unistd.h>

namespace drover::xen {
namespace {

using drover::testing::legal_context;
using drover::testing::small_model;

state::MachineState machine_of(uint64_t seed)
{
    XenState state;
    state.hvm = legal_context(seed, 1);
    state.model = small_model();
    auto read = read_machine(state);
    EXPECT_TRUE(read) << read.error().text();
    return read->machine;
}

/// `frames` pages from `first` on, each filled with its number.
class FakePages : public state::GuestPages {
public:
    FakePages(std::vector<state::FrameRange> ranges) : ranges_(std::move(ranges)) {}
    [[nodiscard]] const std::vector<state::FrameRange>& ranges() const override { return ranges_; }
    [[nodiscard]] Status read(uint64_t frame, state::FrameBytes target) const override
    {
        std::ranges::fill(target, static_cast<std::byte>(frame));
        return {};
    }
    [[nodiscard]] bool is_zero(uint64_t frame) const override { return frame == 2; }

private:
    std::vector<state::FrameRange> ranges_;
};

std::string told(const std::vector<std::string>& lines)
{
    std::string all;
    for (const std::string& line : lines)
        all += line + "\n";
    return all;
}

TEST(XenSaveTest, ABlankStreamIsNotTakenForAGuest)
{
    FILE* file = tmpfile();
    ASSERT_NE(file, nullptr);
    ByteSink sink(fileno(file), "a test's file");
    const XenGuest guest{.name = "blank", .uuid = "u", .memory = 4 << 20};
    SaveStream stream(guest, sink);
    stream.begin(2, false);
    stream.populate(0, 1024);
    ASSERT_TRUE(stream.write_blank());
    const uint64_t all_but_the_end = sink.at();
    ASSERT_TRUE(stream.end_blank());
    EXPECT_EQ(sink.at() - all_but_the_end, 2 * 8U) << "two headers of records";

    auto source = FileBytes::of(UniqueFd(dup(fileno(file))), "a test's file");
    fclose(file);
    ASSERT_TRUE(source);
    const auto state = read_xen_state(*source);
    ASSERT_FALSE(state);
    EXPECT_NE(state.error().text().find("no state"), std::string::npos) << state.error().text();
}

TEST(XenSaveTest, WhatIsWrittenCanBeRead)
{
    const state::MachineState machine = machine_of(3);
    const auto written = write_machine(machine);
    ASSERT_TRUE(written) << written.error().text();
    FILE* file = tmpfile();
    ASSERT_NE(file, nullptr);
    ByteSink sink(fileno(file), "a test's file");
    const FakePages pages({{0, 0x100}, {0x200, 300}, {0xfeff0, 16}});
    XenGuest guest{.name = "moved", .uuid = "u", .memory = 64 << 20, .config = Json::object()};
    guest.config["b_info"]["type.hvm"]["serial"] = "pty";
    ASSERT_TRUE(write_xen_save(*written, pages, guest, sink));

    auto source = FileBytes::of(UniqueFd(dup(fileno(file))), "a test's file");
    fclose(file);
    ASSERT_TRUE(source);
    const auto state = read_xen_state(*source);
    ASSERT_TRUE(state) << state.error().text();
    EXPECT_EQ(state->config["b_info"]["max_memkb"], 65536);
    EXPECT_EQ(state->config["b_info"]["type.hvm"]["serial"], "pty");
    EXPECT_EQ(state->config["b_info"]["type.hvm"]["hpet"], "False");
    EXPECT_EQ(state->pages.count(), 0x100 - 0x20 + 300 + 16U);
    EXPECT_FALSE(state->pages.has(0xa0)) << "a page where the VGA's window is";
    const XenPages again(*state, *source);
    std::array<std::byte, state::frame_size> page = {};
    ASSERT_TRUE(again.read(0x201, page));
    EXPECT_EQ(page[9], std::byte{1});
    ASSERT_TRUE(again.read(2, page));
    EXPECT_EQ(page[9], std::byte{0});
    ASSERT_TRUE(again.read(0xfeffe, page));
    EXPECT_EQ(stream::load_le<uint32_t>(&page[4]), 0x004000e7U) << "the identity page table";
    ASSERT_TRUE(again.read(0xfeffc, page));
    EXPECT_EQ(page[0], std::byte{0}) << "a page of Xen's own";
    const auto read = read_machine(*state);
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_TRUE(state::to_json(read->machine) == state::to_json(machine));
}

/// As of a guest that moves live: what comes again counts, and what never came is there, too.
TEST(XenSaveTest, PagesComeInAnyOrderAndAgain)
{
    const auto written = write_machine(machine_of(4));
    ASSERT_TRUE(written) << written.error().text();
    const XenGuest guest{.name = "moved", .uuid = "u", .memory = 4 << 20};
    ByteSink sink;
    SaveStream stream(guest, sink);
    stream.begin(1, false);
    const std::vector<std::byte> old(state::frame_size, std::byte{1});
    const std::vector<std::byte> latest(state::frame_size, std::byte{2});
    for (const uint64_t frame : {700U, 3U, 0xa1U, 0xfeff4U})
        stream.page(frame, old);
    stream.page(3, latest);
    stream.populate(4, 0x300 - 4);
    ASSERT_TRUE(stream.end(*written));
    const auto bytes = sink.take();
    const MemoryBytes source(bytes);
    const auto state = read_xen_state(source);
    ASSERT_TRUE(state) << state.error().text();
    const XenPages pages(*state, source);
    std::array<std::byte, state::frame_size> page = {};
    ASSERT_TRUE(pages.read(3, page));
    EXPECT_EQ(page[5], std::byte{2});
    ASSERT_TRUE(pages.read(700, page));
    EXPECT_EQ(page[5], std::byte{1}) << "was not there already";
    EXPECT_TRUE(pages.is_zero(0x2ff));
    EXPECT_FALSE(state->pages.has(0xa1)) << "where the VGA's window is";
    ASSERT_TRUE(pages.read(0xfeff4, page));
    EXPECT_EQ(page[5], std::byte{0}) << "a page of Xen's own";
}

TEST(XenFitTest, TellsWhatIsImpossibleBeforeAnythingIsWritten)
{
    const auto impossible = [](auto change) {
        state::MachineState machine = machine_of(2);
        change(machine);
        const XenFit fit = judge_machine(machine);
        EXPECT_EQ(fit.impossible.empty(), write_machine(machine).has_value());
        return told(fit.impossible);
    };
    using Machine = state::MachineState;
    EXPECT_EQ(impossible([](Machine&) {}), "");
    EXPECT_NE(impossible([](Machine& m) { m.vcpus[0].xcr0 |= 0xe0; }).find("AVX-512"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) { m.vcpus[0].events.smm = true; }).find("management mode"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) { m.vcpus[0].cr4 |= 1U << 12; }).find("five levels"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) {
                  m.vcpus[0].msrs.push_back({0x4b564d01, 1});
              }).find("kvm=off"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) {
                  m.vcpus[0].msrs.push_back({0xabc, 1});
              }).find("abc"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) { m.lapics.clear(); }).find("vCPUs"), std::string::npos);
    EXPECT_NE(impossible([](Machine& m) { m.pic.reset(); }).find("PIC"), std::string::npos);
    EXPECT_NE(impossible([](Machine& m) { m.acpi_pm->port = 0; }).find("firmware"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) { m.devices.clear(); }).find("machine pc"),
              std::string::npos);
    EXPECT_NE(impossible([](Machine& m) {
                  m.devices.push_back(
                      {.name = "hpet", .fields = {{"config", "uint64", {0, 0, 0, 0, 0, 0, 0, 1}}}});
              }).find("HPET"),
              std::string::npos);
    for (const state::VirtioBalloon pages : {state::VirtioBalloon{.given = 1}, {.wanted = 1}})
        EXPECT_NE(impossible([pages](Machine& m) {
                      m.virtio.push_back({.place = "0000:00:07.0",
                                          .device = state::VirtioKind::Balloon,
                                          .balloon = {pages}});
                  }).find("0000:00:07.0/virtio-balloon"),
                  std::string::npos);
    EXPECT_NE(impossible([](Machine& m) {
                  m.acpi_pm->port = 0x600;
                  m.ioapic->redirection.assign(24, 0x10000);
                  m.ioapic->redirection[20] = 0x30;
              }).find("pin 20"),
              std::string::npos);
}

TEST(XenFitTest, TellsWhatChangesForTheGuest)
{
    state::MachineState machine = machine_of(2);
    machine.vcpus[0].run_state = state::RunState::Halted;
    machine.vcpus[0].events.nmi_pending = true;
    machine.vcpus[0].msrs.push_back({0x400, 5});
    machine.vcpus[0].msrs.push_back({0x17b, UINT64_MAX});
    machine.lapics[0].timer_hz = 1'000'000'000;
    machine.lapics[0].divide_configuration = 0;
    machine.lapics[0].local_vectors[0] = 0x30;
    machine.devices.push_back({.name = "vmmouse", .fields = {}});
    const XenFit fit = judge_machine(machine);
    EXPECT_TRUE(fit.impossible.empty()) << told(fit.impossible);
    for (const char* word : {"HLT", "NMI", "machine checks", "late", "mouse"})
        EXPECT_NE(told(fit.changes).find(word), std::string::npos) << word;
}

TEST(XenSaveTest, AGuestOfQemusFindsItsOwnDivisorAndItsSilentPowerManagement)
{
    state::MachineState machine = machine_of(2);
    machine.acpi_pm->port = 0x600;
    for (state::Lapic& lapic : machine.lapics) {
        lapic.timer_hz = 1'000'000'000;
        lapic.divide_configuration = 3;
        lapic.initial_count = 62'500; // a millisecond
    }
    machine.ioapic->redirection.assign(24, 0x10000);
    const auto written = write_machine(machine);
    ASSERT_TRUE(written) << written.error().text();
    const auto hidden = decode_record<HvmLapic>(*written->hvm.find(HvmType::Lapic));
    const auto shown =
        decode_record<HvmLapicRegisters>(*written->hvm.find(HvmType::LapicRegisters));
    ASSERT_TRUE(hidden && shown);
    EXPECT_EQ(hidden->timer_divisor, 1U);
    EXPECT_EQ(shown->at(0x3e0), 3U);
    EXPECT_EQ(shown->at(0x380), 100'000U);
    const auto timer = decode_record<HvmPmTimer>(*written->hvm.find(HvmType::PmTimer));
    ASSERT_TRUE(timer);
    EXPECT_EQ(timer->enable, 0U);
    const auto ioapic = decode_record<HvmIoApic>(*written->hvm.find(HvmType::IoApic));
    ASSERT_TRUE(ioapic);
    EXPECT_EQ(ioapic->redirection[47], 0x10000U) << "a pin that the guest does not know";
}

} // namespace
} // namespace drover::xen
