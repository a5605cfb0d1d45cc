// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/xen_machine.h"

#include "migration/state/lapic_timer.h"
#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/hvm_untaken.h"
#include "vmm/xen/state/stopped_counters.h"
#include "xen_bytes.h"

#include <gtest/gtest.h>

namespace drover::xen {
namespace {

using drover::testing::legal_context;
using drover::testing::small_model;

XenState state_of(HvmContext context, bool born_on_xen = true)
{
    XenState state;
    state.hvm = std::move(context);
    state.model = small_model(born_on_xen);
    return state;
}

bool is_untaken(const HvmRecord& record, size_t at, bool has_xsave)
{
    static constexpr size_t fpu_size = 512;
    if (record.type == HvmType::Cpu && has_xsave && at < fpu_size)
        return true;
    return std::ranges::any_of(untaken_bytes(), [&](const UntakenBytes& bytes) {
        return bytes.type == record.type && at >= bytes.at && at - bytes.at < bytes.size;
    });
}

TEST(XenLayoutTest, RecordsAreAsLongAsXens)
{
    EXPECT_EQ(state::encode(HvmHeader()).size(), 24U);
    EXPECT_EQ(state::encode(HvmCpu()).size(), 1032U);
    EXPECT_EQ(state::encode(HvmPic()).size(), 8U);
    EXPECT_EQ(state::encode(HvmIoApic()).size(), 400U);
    EXPECT_EQ(state::encode(HvmLapic()).size(), 24U);
    EXPECT_EQ(state::encode(HvmLapicRegisters()).size(), 1024U);
    EXPECT_EQ(state::encode(HvmPciIrq()).size(), 16U);
    EXPECT_EQ(state::encode(HvmIsaIrq()).size(), 8U);
    EXPECT_EQ(state::encode(HvmPciLink()).size(), 8U);
    EXPECT_EQ(state::encode(HvmPit()).size(), 56U);
    EXPECT_EQ(state::encode(HvmRtc()).size(), 24U);
    EXPECT_EQ(state::encode(HvmHpet()).size(), 1048U);
    EXPECT_EQ(state::encode(HvmPmTimer()).size(), 8U);
    EXPECT_EQ(state::encode(HvmMtrr()).size(), 240U);
    EXPECT_EQ(state::encode(HvmXsave()).size(), 600U);
    EXPECT_EQ(state::encode(HvmVmce()).size(), 32U);
}

/// Offsets of struct hvm_hw_cpu in Xen's arch-x86/hvm/save.h, by hand.
TEST(XenLayoutTest, FieldsOfACpuAreWhereXenHasThem)
{
    const HvmContext context = legal_context(2, 1);
    const HvmRecord* record = context.find(HvmType::Cpu);
    ASSERT_NE(record, nullptr);
    const auto at = [&](size_t offset) {
        return stream::load_le<uint64_t>(&record->bytes[offset]);
    };
    const auto cpu = decode_record<HvmCpu>(*record);
    ASSERT_TRUE(cpu);
    EXPECT_EQ(at(520), cpu->general[1]) << "rbx";
    EXPECT_EQ(at(568), cpu->general[7]) << "rsp";
    EXPECT_EQ(at(640), cpu->rip);
    EXPECT_EQ(at(672), cpu->cr3);
    EXPECT_EQ(at(728), cpu->dr7);
    EXPECT_EQ(at(736) & 0xffff, cpu->selectors[HvmCs]);
    EXPECT_EQ(at(808), cpu->bases[HvmCs]);
    EXPECT_EQ(at(880), cpu->gdtr_base);
    EXPECT_EQ(at(912) & 0xffffffff, cpu->attributes[HvmTr]);
    EXPECT_EQ(at(944), cpu->shadow_gs);
    EXPECT_EQ(at(992), cpu->efer);
    EXPECT_EQ(at(1008), cpu->tsc);
    EXPECT_EQ(at(1016) & 0xffffffff, cpu->pending_event);
}

/// Xen to neutral and back: all but what is derived or told.
TEST(XenMachineTest, TheWayBackGivesTheSameBytes)
{
    for (uint64_t seed = 1; seed <= 60; ++seed) {
        const HvmContext context = legal_context(seed, 2);
        const auto read = read_machine(state_of(context));
        ASSERT_TRUE(read) << seed << ": " << read.error().text();
        const auto written = write_machine(read->machine);
        ASSERT_TRUE(written) << seed << ": " << written.error().text();
        ASSERT_EQ(written->hvm.records.size(), context.records.size()) << seed;
        for (size_t i = 0; i < context.records.size(); ++i) {
            const HvmRecord& before = context.records[i];
            const HvmRecord& after = written->hvm.records[i];
            ASSERT_EQ(name_of(before), name_of(after)) << seed;
            ASSERT_EQ(before.bytes.size(), after.bytes.size()) << name_of(before);
            for (size_t at = 0; at < before.bytes.size(); ++at) {
                const bool same = before.bytes[at] == after.bytes[at];
                ASSERT_TRUE(same || is_untaken(before, at, false))
                    << "seed " << seed << ", " << name_of(before) << " byte " << at;
            }
        }
    }
}

/// The hypervisor's counters go on until they are read, the device model's clock does not.
TEST(XenMachineTest, CountersAreAsOldAsTheDeviceModelsClock)
{
    for (const bool born_on_xen : {true, false}) {
        auto read = read_machine(state_of(legal_context(5, 2), born_on_xen));
        ASSERT_TRUE(read) << read.error().text();
        state::MachineState& machine = read->machine;
        machine.clocks->tsc_khz = 2'000'000;
        machine.clocks->acpi_timer = 1'000;
        machine.vcpus[0].tsc = 10'000'000'000;
        machine.vcpus[1].tsc = 5;
        set_back_to_stop(machine, 1'500'000'001); // 1.5 s
        EXPECT_EQ(machine.vcpus[0].tsc, 10'000'000'000U - 3'000'000'002U);
        EXPECT_EQ(machine.vcpus[1].tsc, 0U) << "no counter is before its beginning";
        const uint32_t counted = born_on_xen ? 5'369'317 : 0; // of 3,579,545 Hz
        EXPECT_EQ(machine.clocks->acpi_timer, 1'000U - counted) << born_on_xen;
    }
}

/// A guest that goes on where it was: its vCPUs are given again, and nothing else.
TEST(XenMachineTest, TheTscOfADomainIsMoved)
{
    HvmContext context = legal_context(5, 2);
    context.records[0] = {HvmType::Header, 0, state::encode(HvmHeader{.tsc_khz = 2'000'000})};
    const auto tsc_of = [](const Result<HvmContext>& of, uint16_t vcpu) {
        return decode_record<HvmCpu>(*of->find(HvmType::Cpu, vcpu))->tsc;
    };
    for (HvmRecord& record : context.records)
        if (record.type == HvmType::Cpu) {
            auto cpu = decode_record<HvmCpu>(record);
            cpu->tsc = record.instance == 0 ? 10'000'000'000 : 5;
            record.bytes = state::encode(*cpu);
        }
    const auto back = with_tsc_moved(context, -1'500'000'001); // 1.5 s
    ASSERT_TRUE(back) << back.error().text();
    EXPECT_EQ(back->records.size(), 3U);
    EXPECT_EQ(tsc_of(back, 0), 10'000'000'000U - 3'000'000'002U);
    EXPECT_EQ(tsc_of(back, 1), 0U) << "no counter is before its beginning";
    const auto on = with_tsc_moved(context, 1);
    ASSERT_TRUE(on);
    EXPECT_EQ(tsc_of(on, 0), 10'000'000'002U);
    EXPECT_FALSE(with_tsc_moved(HvmContext(), 1));
}

/// Whatever byte is another, the neutral state is, or the reader says that it does not know it.
TEST(XenMachineTest, NoByteIsDroppedWithoutAWord)
{
    for (const uint64_t seed : {3U, 4U}) {
        HvmContext context = legal_context(seed, 1);
        for (HvmRecord& record : context.records) // a wire may be held by two at once
            if (record.type == HvmType::PciIrq || record.type == HvmType::IsaIrq)
                std::ranges::fill(record.bytes, std::byte{0});
        const auto whole = read_machine(state_of(context));
        ASSERT_TRUE(whole) << whole.error().text();
        const auto json = state::to_json(whole->machine);
        const bool has_xsave = context.find(HvmType::CpuXsave) != nullptr;
        for (HvmRecord& record : context.records)
            for (size_t at = 0; at < record.bytes.size(); ++at) {
                if (is_untaken(record, at, has_xsave))
                    continue;
                record.bytes[at] ^= std::byte{0x10};
                const auto read = read_machine(state_of(context));
                const bool told = !read || read->not_carried != whole->not_carried ||
                                  state::to_json(read->machine) != json;
                record.bytes[at] ^= std::byte{0x10};
                ASSERT_TRUE(told) << "seed " << seed << ", " << name_of(record) << " byte " << at;
            }
    }
}

TEST(XenMachineTest, OfALegalGuestNothingIsUnknown)
{
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        const auto read = read_machine(state_of(legal_context(seed, 2)));
        ASSERT_TRUE(read) << read.error().text();
        for (const std::string& line : read->not_carried)
            EXPECT_EQ(line.find("not known here"), std::string::npos) << line;
    }
}

TEST(XenMachineTest, TellsWhatItDoesNotKnow)
{
    const auto told = [](const XenState& state) {
        const auto read = read_machine(state);
        std::string lines = read ? "" : read.error().text();
        if (read)
            for (const std::string& line : read->not_carried)
                lines += line + "\n";
        return lines;
    };
    XenState state = state_of(legal_context(2, 1));
    state.hvm.records.push_back({static_cast<HvmType>(22), 0, {}});
    EXPECT_NE(told(state).find("22 0: not known here"), std::string::npos);
    state = state_of(legal_context(2, 1));
    state.params = {{.index = 99, .value = 1}, {.index = 17, .value = 1}};
    EXPECT_NE(told(state).find("HVM_PARAM 99: not known here"), std::string::npos);
    state.params = {{.index = 9, .value = 1}};
    EXPECT_NE(told(state).find("Hyper-V"), std::string::npos);
    state = state_of(legal_context(2, 1));
    for (HvmRecord& record : state.hvm.records)
        if (record.type == HvmType::Hpet)
            record.bytes[16] = std::byte{1};
    EXPECT_NE(told(state).find("HPET"), std::string::npos);
}

TEST(XenMachineTest, AVcpuThatWaitsHasNoCpuRecord)
{
    HvmContext context = legal_context(2, 2);
    std::erase_if(context.records, [](const HvmRecord& record) {
        return record.instance == 1 &&
               (record.type == HvmType::Cpu || record.type == HvmType::CpuXsave ||
                record.type == HvmType::CpuMsr);
    });
    const auto read = read_machine(state_of(context));
    ASSERT_TRUE(read) << read.error().text();
    ASSERT_EQ(read->machine.vcpus.size(), 2U);
    EXPECT_EQ(read->machine.vcpus[1].run_state, state::RunState::WaitsForSipi);
    EXPECT_EQ(read->machine.vcpus[1].rip, 0xfff0U);
    const auto written = write_machine(read->machine);
    ASSERT_TRUE(written) << written.error().text();
    EXPECT_EQ(written->hvm.find(HvmType::Cpu, 1), nullptr);
    EXPECT_NE(written->hvm.find(HvmType::Mtrr, 1), nullptr);
}

TEST(XenMachineTest, ALongerLapicOfXen422IsRead)
{
    HvmContext context = legal_context(2, 1);
    const auto before = read_machine(state_of(context));
    for (HvmRecord& record : context.records)
        if (record.type == HvmType::Lapic)
            record.bytes.resize(32);
    const auto after = read_machine(state_of(context));
    ASSERT_TRUE(before);
    ASSERT_TRUE(after) << after.error().text();
    EXPECT_TRUE(state::to_json(after->machine) == state::to_json(before->machine));
}

TEST(XenMachineTest, WhereTheGuestWasBornShowsInItsPorts)
{
    const auto here = read_machine(state_of(legal_context(2, 1), true));
    const auto there = read_machine(state_of(legal_context(2, 1), false));
    ASSERT_TRUE(here);
    ASSERT_TRUE(there);
    EXPECT_EQ(here->machine.acpi_pm->port, xen_pm_port);
    EXPECT_EQ(there->machine.acpi_pm->port, qemu_pm_port);
    EXPECT_EQ(here->machine.lapics[0].timer_hz, state::xen_lapic_hz);
    EXPECT_EQ(there->machine.lapics[0].timer_hz, state::qemu_lapic_hz);
    EXPECT_NE(here->machine.clocks->acpi_timer, there->machine.clocks->acpi_timer);
}

TEST(XenMachineTest, TheDeviceModelsOwnPartsComeFromItsSections)
{
    const auto read = read_machine(state_of(legal_context(2, 1)));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->machine.clocks->run_time, 77);
    EXPECT_EQ(read->machine.rtc->memory.size(), 114U);
    std::vector<std::string> names;
    for (const state::Device& device : read->machine.devices)
        names.push_back(device.name);
    EXPECT_EQ(names, (std::vector<std::string>{"0000:00:01.0/PIIX3", "0000:00:01.3/piix4_pm"}));
    EXPECT_EQ(read->machine.serials.size(), 1U);
    EXPECT_TRUE(read->machine.fw_cfg);
    const auto written = write_machine(read->machine);
    ASSERT_TRUE(written) << written.error().text();
    for (const ModelSection& section : small_model()) {
        const auto same = std::ranges::find(written->model, section.name, &ModelSection::name);
        if (section.name == "cpu") {
            EXPECT_EQ(same, written->model.end());
            continue;
        }
        ASSERT_NE(same, written->model.end()) << section.name;
        EXPECT_EQ(same->bytes.size(), section.bytes.size()) << section.name;
        const bool made_anew =
            section.name == "mc146818rtc" || section.name == "timer" || section.name == "PCIBUS";
        EXPECT_TRUE(made_anew || same->bytes == section.bytes) << section.name;
    }
}

/// What is behind the 255th byte would be a section of its own.
TEST(XenMachineTest, NoNameForgesASection)
{
    auto read = read_machine(state_of(legal_context(1, 1)));
    ASSERT_TRUE(read);
    ASSERT_TRUE(write_machine(read->machine));
    read->machine.devices.push_back({.name = std::string(300, 'x'), .fields = {}});
    EXPECT_FALSE(write_machine(read->machine));
}

} // namespace
} // namespace drover::xen
