// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/machine_fields.h"

#include "blank_state.h"
#include "state/random_part.h"
#include "vmm/qemu/state/clock_fields.h"
#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_fields.h"
#include "vmm/qemu/state/interrupt_fields.h"
#include "vmm/qemu/state/vcpu_fields.h"

#include <algorithm>
#include <set>

namespace drover::qemu {
namespace {

using drover::testing::blank_pc;
using drover::testing::random_part;

state::Device section(std::string_view name, uint32_t instance = 0)
{
    for (const state::Device& each : blank_pc())
        if (each.name == name && each.instance == instance)
            return each;
    ADD_FAILURE() << name;
    return {};
}

/// The fields of which the bytes differ, as "section field".
std::set<std::string> differences(const std::vector<state::Device>& left,
                                  const std::vector<state::Device>& right)
{
    std::set<std::string> names;
    EXPECT_EQ(left.size(), right.size());
    for (size_t i = 0; i < left.size(); ++i) {
        EXPECT_EQ(left[i].name, right[i].name);
        EXPECT_EQ(left[i].fields.size(), right[i].fields.size()) << left[i].name;
        for (size_t k = 0; k < left[i].fields.size(); ++k)
            if (left[i].fields[k].value != right[i].fields[k].value)
                names.insert(left[i].name + " " + left[i].fields[k].name);
    }
    return names;
}

/// APM2 14.1.3.
void expect_as_after_a_reset(const state::Vcpu& vcpu)
{
    EXPECT_EQ(vcpu.rip, 0xfff0U);
    EXPECT_EQ(vcpu.rflags, 2U);
    EXPECT_EQ(vcpu.cr0, 0x60000010U);
    EXPECT_EQ(vcpu.segments[state::Cs].selector, 0xf000U);
    EXPECT_EQ(vcpu.segments[state::Cs].base, 0xffff0000U);
    EXPECT_EQ(vcpu.segments[state::Cs].limit, 0xffffU);
    EXPECT_EQ(vcpu.segments[state::Cs].attributes, 0x9bU);
    EXPECT_EQ(vcpu.segments[state::Tr].attributes, 0x8bU);
    EXPECT_EQ(vcpu.dr6, 0xffff0ff0U);
    EXPECT_EQ(vcpu.dr7, 0x400U);
    EXPECT_EQ(vcpu.fcw, 0x37fU) << "as QEMU has it: FNINIT's";
    EXPECT_EQ(vcpu.mxcsr, 0x1f80U);
    EXPECT_EQ(vcpu.xcr0, 1U);
    EXPECT_FALSE(vcpu.events.exception || vcpu.events.interrupt || vcpu.events.nmi_pending);
    const auto pat = std::ranges::find(vcpu.msrs, 0x277U, &state::Msr::index);
    ASSERT_NE(pat, vcpu.msrs.end());
    EXPECT_EQ(pat->value, 0x0007040600070406U);
}

TEST(MachineFieldsTest, ReadsAMachineThatHasNotRun)
{
    const auto read = read_machine(blank_pc());
    ASSERT_TRUE(read) << read.error().text();
    const state::MachineState& machine = read->machine;
    ASSERT_EQ(machine.vcpus.size(), 2U);
    expect_as_after_a_reset(machine.vcpus[0]);
    EXPECT_EQ(machine.vcpus[0].run_state, state::RunState::Running);
    EXPECT_EQ(machine.vcpus[1].run_state, state::RunState::WaitsForSipi);
    ASSERT_EQ(machine.lapics.size(), 2U);
    EXPECT_EQ(machine.lapics[1].id, 1U);
    EXPECT_EQ(machine.lapics[0].timer_left, -1);
    EXPECT_EQ(machine.ioapic->redirection, std::vector<uint64_t>(24, 0x10000));
    EXPECT_EQ(machine.pit->channels[0].count, 65536U);
    EXPECT_EQ(machine.rtc->memory.size(), 114U);
    for (const std::string& field : read->not_carried)
        EXPECT_EQ(field.find("not known here"), std::string::npos) << field;
}

/// Byte for byte, but for what QEMU derives itself when it loads.
TEST(MachineFieldsTest, QemusStateComesBackFromTheNeutralOne)
{
    const auto read = read_machine(blank_pc());
    ASSERT_TRUE(read) << read.error().text();
    const auto written = write_machine(read->machine, blank_pc());
    ASSERT_TRUE(written) << written.error().text();
    EXPECT_EQ(
        differences(blank_pc(), written->sections),
        (std::set<std::string>{"apic count_shift",             // a reset leaves it wrong
                               "cpu_common interrupt_request", // asks it to look itself
                               "globalstate runstate",         // its loader decides
                               "globalstate size", "i8254 channels[0].next_transition_time"}));
}

/// Of any bits such as an x86 CPU, and QEMU's stream, can have.
state::Vcpu legal_vcpu(uint64_t seed, const std::vector<state::Msr>& msrs)
{
    auto vcpu = random_part<state::Vcpu>(seed);
    vcpu.number = 1;
    for (state::Segment& segment : vcpu.segments)
        segment.attributes &= 0xfff;
    state::PendingEvents& events = vcpu.events;
    events.error_code = 0; // QEMU does not save it
    events.vector = events.exception ? events.vector : 0;
    events.interrupt_vector = events.interrupt ? events.interrupt_vector : 0;
    vcpu.smbase &= 0xffffffff;
    std::mt19937_64 random(seed);
    vcpu.msrs = msrs;
    for (state::Msr& msr : vcpu.msrs)
        msr.value = msr.index == 0x174 ? random() & 0xffffffff : random();
    return vcpu;
}

TEST(MachineFieldsTest, AnyVcpuComesBack)
{
    std::vector<std::string> told;
    auto msrs = read_vcpu(section("cpu", 1), told)->msrs;
    const auto known = msrs;
    // Those that a stream has in subsections of their own, if at all.
    for (const uint32_t index : {0x34U, 0x48U, 0x6e0U, 0xda0U, 0x4b564d02U, 0x4b564d05U})
        if (std::ranges::find(msrs, index, &state::Msr::index) == msrs.end())
            msrs.push_back({index, 0});
    std::ranges::sort(msrs, {}, &state::Msr::index);
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        const auto vcpu = legal_vcpu(seed, seed % 2 == 0 ? known : msrs);
        state::Device device = section("cpu", 1);
        const Status written = write_vcpu(vcpu, device);
        ASSERT_TRUE(written) << written.error().text();
        const auto again = read_vcpu(device, told);
        ASSERT_TRUE(again) << again.error().text();
        EXPECT_EQ(state::part_to_json(*again), state::part_to_json(vcpu)) << seed;
    }
}

TEST(MachineFieldsTest, AnyLapicComesBack)
{
    std::mt19937_64 random(5);
    std::vector<std::string> told;
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        auto lapic = random_part<state::Lapic>(seed);
        lapic.number = 1;
        lapic.base &= 0xffffffff;
        for (uint32_t* byte : {&lapic.id, &lapic.task_priority, &lapic.logical_destination})
            *byte &= 0xff;
        lapic.destination_format &= 0xf;
        lapic.divide_configuration &= 0xb;
        lapic.local_vectors[0] = seed % 2 == 0 ? 0x200ec : 0xec; // periodic, one-shot
        lapic.timer_hz = state::qemu_lapic_hz;
        lapic.timer_left = static_cast<int64_t>(random() % 1'000'000);
        const SavedTimes times = {.run_time = 5'000'000'000};
        state::Device device = section("apic", 1);
        ASSERT_TRUE(write_lapic(lapic, seed % 3 == 0, times, device));
        const auto again = read_lapic(device, times, told);
        ASSERT_TRUE(again) << again.error().text();
        EXPECT_EQ(state::part_to_json(*again), state::part_to_json(lapic)) << seed;
    }
    EXPECT_TRUE(told.empty());
}

TEST(MachineFieldsTest, AnyPicComesBack)
{
    std::vector<std::string> told;
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        const auto chip = random_part<state::PicChip>(seed);
        state::Device device = section("i8259", 1);
        ASSERT_TRUE(write_pic_chip(chip, device));
        EXPECT_EQ(state::part_to_json(*read_pic_chip(device, told)), state::part_to_json(chip));
    }
    EXPECT_TRUE(told.empty());
}

TEST(MachineFieldsTest, AnyPitComesBack)
{
    std::mt19937_64 random(5);
    std::vector<std::string> told;
    constexpr int64_t run_time = 1'000'000'000'000;
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        auto pit = random_part<state::Pit>(seed);
        for (state::PitChannel& channel : pit.channels) {
            channel.count = 1 + channel.count % 65536;
            channel.since_load = static_cast<int64_t>(random() % run_time);
        }
        state::Device device = section("i8254");
        state::Device speaker = section("pcspk");
        ASSERT_TRUE(write_pit(pit, run_time, device, &speaker));
        const auto again = read_pit(device, &speaker, run_time, told);
        ASSERT_TRUE(again) << again.error().text();
        EXPECT_EQ(state::part_to_json(*again), state::part_to_json(pit)) << seed;
    }
    EXPECT_TRUE(told.empty());
}

TEST(MachineFieldsTest, AnyRtcComesBack)
{
    std::mt19937_64 random(5);
    std::vector<std::string> told;
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        auto rtc = random_part<state::Rtc>(seed);
        rtc.memory.resize(114);
        rtc.ahead = static_cast<int64_t>(random() % 2'000'000'000'000'000) - 1'000'000'000'000'000;
        state::Device device = section("mc146818rtc");
        ASSERT_TRUE(write_rtc(rtc, device));
        const auto again = read_rtc(device, told);
        ASSERT_TRUE(again) << again.error().text();
        EXPECT_EQ(state::part_to_json(*again), state::part_to_json(rtc)) << seed;
    }
    EXPECT_TRUE(told.empty());
}

TEST(MachineFieldsTest, TheAcpiTimerNeverJumps)
{
    std::mt19937_64 random(5);
    for (int i = 0; i < 1000; ++i) {
        state::Clocks clocks = {.run_time = static_cast<int64_t>(random() >> 4)};
        clocks.acpi_timer = acpi_timer_at(clocks.run_time);
        EXPECT_EQ(run_time_for(clocks), clocks.run_time) << "QEMU's own stays as it is";
        clocks.acpi_timer = static_cast<uint32_t>(random()) & 0xffffff;
        const int64_t run_time = run_time_for(clocks);
        EXPECT_EQ(acpi_timer_at(run_time), clocks.acpi_timer);
        EXPECT_GE(run_time, clocks.run_time);
        EXPECT_LT(run_time, clocks.run_time + 5'000'000'000);
    }
}

/// What only KVM keeps up to date would be out of date at the next move; and TCG has no interrupt
/// that was taken and not delivered.
TEST(MachineFieldsTest, UnderTcgNothingOfKvmsStays)
{
    state::MachineState machine = read_machine(blank_pc())->machine;
    machine.vcpus[0].run_state = state::RunState::Halted;
    state::PendingEvents& events = machine.vcpus[0].events;
    events.interrupt = true;
    events.interrupt_vector = 0xec;
    machine.lapics[0].in_service[7] = 1U << 12;
    auto written = write_machine(machine, blank_pc());
    ASSERT_TRUE(written) << written.error().text();
    auto& sections = written->sections;
    auto again = read_machine(sections)->machine;
    EXPECT_EQ(again.vcpus[0].run_state, state::RunState::Halted);
    EXPECT_FALSE(again.vcpus[0].events.interrupt);
    EXPECT_EQ(again.lapics[0].in_service[7], 0U);
    EXPECT_EQ(again.lapics[0].requested[7], 1U << 12);
    const auto common = std::ranges::find(sections, "cpu_common", &state::Device::name);
    FieldWriter(*common).set("halted", 0); // it has woken up
    EXPECT_EQ(read_machine(sections)->machine.vcpus[0].run_state, state::RunState::Running);
}

/// What QEMU does not use under TCG it leaves as it is: at the next move it would be out of date.
TEST(MachineFieldsTest, UnderTcgThereIsOneTimeStampCounter)
{
    state::MachineState machine = read_machine(blank_pc())->machine;
    for (state::Vcpu& vcpu : machine.vcpus)
        vcpu.tsc = 1000;
    auto written = write_machine(machine, blank_pc());
    ASSERT_TRUE(written) << written.error().text();
    auto& sections = written->sections;
    const auto timer = std::ranges::find(sections, "timer", &state::Device::name);
    ASSERT_NE(timer, sections.end());
    EXPECT_EQ(ticks_of(*timer), 1000U);
    FieldWriter(*timer).set("cpu_ticks_offset", 5000); // it has run
    EXPECT_EQ(read_machine(sections)->machine.vcpus[0].tsc, 5000U);
}

std::string complaint(const state::MachineState& machine)
{
    const auto written = write_machine(machine, blank_pc());
    return written ? "none" : written.error().text();
}

TEST(MachineFieldsTest, WhatHasNoPlaceIsNamed)
{
    const state::MachineState machine = read_machine(blank_pc())->machine;
    EXPECT_EQ(complaint(machine), "none");
    state::MachineState other = machine;
    other.devices.push_back(opaque_device("0000:00:05.0/virtio-gpu", 0, 1, {}));
    EXPECT_NE(complaint(other).find("virtio-gpu has no place"), std::string::npos);
    other = machine;
    other.serials.clear();
    EXPECT_NE(complaint(other).find("serial"), std::string::npos);
    other = machine;
    other.vcpus.pop_back();
    EXPECT_NE(complaint(other).find("2"), std::string::npos);
    other = machine;
    other.ioapic->redirection.resize(48, 0x10000);
    EXPECT_EQ(complaint(other), "none");
    other.ioapic->redirection[40] = 0x931;
    EXPECT_NE(complaint(other).find("pin 40"), std::string::npos);
    other = machine;
    other.vcpus[0].msrs.push_back({0x4b564d01, 0x1001});
    EXPECT_NE(complaint(other).find("kvm=off"), std::string::npos);
}

TEST(MachineFieldsTest, PartsOfAWholeMachineComeBack)
{
    const state::MachineState machine = read_machine(blank_pc())->machine;
    auto bytes = state::encode_machine(machine);
    const auto again = state::decode_machine(bytes);
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(state::to_json(*again), state::to_json(machine));
    EXPECT_EQ(state::encode_machine(*again), bytes);
    constexpr size_t first_version =
        4 + 1 + 4; // behind the parts' number, and "vcpu" and its length
    bytes[first_version] = std::byte{99};
    EXPECT_NE(state::decode_machine(bytes).error().text().find("vcpu, version 99"),
              std::string::npos);
    bytes[first_version] = std::byte{1};
    bytes.pop_back();
    EXPECT_FALSE(state::decode_machine(bytes));
}

} // namespace
} // namespace drover::qemu
