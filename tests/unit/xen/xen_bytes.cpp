// SPDX-License-Identifier: GPL-2.0-or-later
#include "xen_bytes.h"

#include "migration/state/lapic_timer.h"
#include "tests/unit/state/random_part.h"
#include "vmm/xen/state/hvm_wires.h"

namespace drover::testing {

namespace {

using namespace xen;

constexpr uint64_t osxsave = 1U << 18;
constexpr uint64_t cr4_not_on_xen = 3U << 12; // five levels, VMX

/// Takes out what Xen and CPUs never have.
void make_legal(FxsaveArea& area)
{
    area.reserved = 0;
    area.mxcsr_mask = 0xffff;
    for (auto& st : area.st)
        st.reserved = {};
    area.unused = {};
}

void make_legal(HvmCpu& cpu, uint64_t seed)
{
    make_legal(cpu.fpu);
    cpu.cr4 &= ~(cr4_not_on_xen | osxsave);
    for (size_t i = 0; i < hvm_segments; ++i) {
        cpu.selectors[i] &= 0xffff;
        cpu.attributes[i] &= 0xfff;
    }
    cpu.attributes[HvmTr] |= 2;
    cpu.gdtr_limit &= 0xffff;
    cpu.idtr_limit &= 0xffff;
    cpu.msr_flags = 0;
    cpu.efer &= ~uint64_t{0x1000};
    cpu.flags = 1;
    cpu.pad = 0;
    static constexpr uint32_t events[] = {0, 0x80000030, 0x80000202, 0x80000306, 0x80000b0e};
    cpu.pending_event = events[seed % std::size(events)];
    cpu.error_code = cpu.pending_event == 0x80000b0e ? cpu.error_code & 0xffff : 0;
}

HvmLapicRegisters legal_registers(uint64_t seed)
{
    const auto random = random_part<HvmLapicRegisters>(seed);
    HvmLapicRegisters registers;
    for (const size_t place :
         {0x80, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370})
        registers.at(place) = random.at(place);
    for (size_t place = 0x100; place < 0x280; place += 0x10)
        registers.at(place) = random.at(place);
    registers.at(0x20) = random.at(0x20) & 0xff000000;
    registers.at(0x30) = 0x50014;
    registers.at(0xd0) = random.at(0xd0) & 0xff000000;
    registers.at(0xe0) = random.at(0xe0) | 0x0fffffff;
    registers.at(0x380) = random.at(0x380) | 1;
    registers.at(0x3e0) = random.at(0x3e0) & 0xb;
    return registers;
}

void add_lapic(HvmContext& context, uint16_t number, uint64_t seed)
{
    const HvmLapicRegisters registers = legal_registers(seed);
    auto lapic = random_part<HvmLapic>(seed);
    lapic.base &= ~uint64_t{0x400};
    lapic.disabled =
        ((lapic.base & 0x800) == 0 ? 1U : 0U) | ((registers.at(0xf0) & 0x100) == 0 ? 2U : 0U);
    lapic.timer_divisor = state::divisor_of(registers.at(0x3e0));
    context.add(HvmType::Lapic, number, lapic);
    context.add(HvmType::LapicRegisters, number, registers);
}

void add_xsave(HvmContext& context, uint16_t number, HvmCpu& cpu, uint64_t seed)
{
    cpu.cr4 |= osxsave;
    HvmXsave xsave{.feature_mask = 7, .xcr0 = 7, .xcr0_accum = 7, .fpu = cpu.fpu, .in_use = 7};
    HvmRecord record{HvmType::CpuXsave, number, state::encode(xsave)};
    const auto ymm = state::encode(random_part<HvmLapicRegisters>(seed));
    record.bytes.insert(record.bytes.end(), ymm.begin(), ymm.begin() + 256);
    context.records.push_back(std::move(record));
}

void add_msrs(HvmContext& context, uint16_t number)
{
    HvmRecord record{HvmType::CpuMsr, number, state::encode(HvmMsrCount{.count = 2})};
    for (const HvmMsr& msr :
         {HvmMsr{.index = 0x48, .value = 1}, {.index = 0xda0, .value = 0x100}}) {
        const auto bytes = state::encode(msr);
        record.bytes.insert(record.bytes.end(), bytes.begin(), bytes.end());
    }
    context.records.push_back(std::move(record));
}

void add_vcpu(HvmContext& context, uint16_t number, uint64_t seed)
{
    auto cpu = random_part<HvmCpu>(seed);
    make_legal(cpu, seed);
    if (seed % 2 == 1) {
        add_xsave(context, number, cpu, seed);
        add_msrs(context, number);
    }
    context.add(HvmType::Cpu, number, cpu);
    auto mtrr = random_part<HvmMtrr>(seed);
    mtrr.capabilities = 0x508;
    context.add(HvmType::Mtrr, number, mtrr);
    context.add(HvmType::VmceVcpu, number, random_part<HvmVmce>(seed));
    context.add(HvmType::TscAdjust, number, random_part<HvmTscAdjust>(seed));
    add_lapic(context, number, seed);
}

HvmPic legal_pic(uint64_t seed, bool master)
{
    auto pic = random_part<HvmPic>(seed);
    pic.init_and_priority &= 0x7f;
    if ((pic.init_and_priority & 3) == 0)
        pic.init_and_priority &= 0x70;
    pic.modes = static_cast<uint8_t>((pic.modes & 0x3f) | (master ? 0x40 : 0));
    pic.level_triggered |= master ? 4 : 0;
    pic.output = 0;
    return pic;
}

HvmPit legal_pit(uint64_t seed)
{
    auto pit = random_part<HvmPit>(seed);
    for (HvmPitChannel& channel : pit.channels) {
        channel.status_latched &= 1;
        channel.bcd &= 1;
        channel.gate &= 1;
        channel.mode %= 6;
    }
    pit.speaker_on &= 1;
    pit.pad = 0;
    return pit;
}

void add_wires(HvmContext& context, uint64_t seed)
{
    auto link = random_part<HvmPciLink>(seed);
    for (uint8_t& line : link.route)
        line &= 0xf;
    link.pad = 0;
    auto wires = random_part<HvmPciIrq>(seed);
    wires.asserted[1] &= seed;
    const state::PciRouting routing{
        .address = 0, .route = link.route, .lines = pci_lines_of(wires)};
    context.add(HvmType::PciIrq, 0, wires);
    context.add(HvmType::PciLink, 0, link);
    context.add(HvmType::IsaIrq, 0,
                HvmIsaIrq{.asserted = isa_wires_of(static_cast<uint16_t>(seed * 7919), routing)});
}

ModelSection section(const std::string& name, uint32_t version, size_t size, char fill = 0)
{
    static constexpr uint32_t first_id = 3;
    return {.id = first_id,
            .name = name,
            .instance = 0,
            .version = version,
            .bytes = std::vector<std::byte>(size, std::byte{static_cast<unsigned char>(fill)})};
}

std::string as_text(std::span<const std::byte> bytes)
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string pages_record()
{
    constexpr uint64_t gone = uint64_t{0xf} << 60;
    constexpr uint64_t allocated = uint64_t{0xe} << 60;
    XenBytes first;
    first.little(8, 3).little(8, 0).little(8, 1).little(8, 5);
    first.raw(std::string(4096, 'a') + std::string(4096, 'x') + std::string(4096, 'y'));
    XenBytes second;
    second.little(8, 3).little(8, gone | 5).little(8, 1).little(8, allocated | 9);
    second.raw(std::string(4096, 'b'));
    return XenBytes().record(1, first.text()).record(1, second.text()).text();
}

} // namespace

HvmContext legal_context(uint64_t seed, uint16_t vcpus)
{
    HvmContext context;
    context.add(HvmType::Header, 0, HvmHeader{.tsc_khz = static_cast<uint32_t>(seed)});
    for (uint16_t number = 0; number < vcpus; ++number)
        add_vcpu(context, number, seed + number);
    for (uint16_t i = 0; i < 2; ++i)
        context.add(HvmType::Pic, i, legal_pic(seed + i, i == 0));
    context.add(HvmType::IoApic, 0, random_part<HvmIoApic>(seed));
    add_wires(context, seed);
    context.add(HvmType::Pit, 0, legal_pit(seed));
    auto rtc = random_part<HvmRtc>(seed);
    rtc.pad = 0;
    rtc.offset %= 1'000'000'000;
    context.add(HvmType::Rtc, 0, rtc);
    HvmHpet hpet{.capability = 0x00f424008086a201};
    for (HvmHpetTimer& timer : hpet.timers)
        timer = {.config = 0x00f0000000000030, .comparator = UINT64_MAX};
    context.add(HvmType::Hpet, 0, hpet);
    context.add(HvmType::PmTimer, 0, random_part<HvmPmTimer>(seed));
    context.sort();
    return context;
}

std::vector<ModelSection> small_model(bool born_on_xen)
{
    std::vector<ModelSection> model = {section("timer", 2, 24),
                                       section("cpu", 12, 100, 'c'),
                                       section("fw_cfg", 2, 6),
                                       section("PCIHost", 1, 4),
                                       section("PCIBUS", 1, 516),
                                       section("0000:00:01.0/PIIX3", 3, 292, 'p'),
                                       section("mc146818rtc", 3, 245, 0),
                                       section("serial", 3, 11, 's'),
                                       section("0000:00:01.3/piix4_pm", 3, 360)};
    model[0].bytes[23] = std::byte{77};
    model[4].bytes[3] = std::byte{128};
    auto& pm = model.back().bytes;
    pm[4 + 0x40] = std::byte{1};
    pm[4 + 0x41] = born_on_xen ? std::byte{0xb0} : std::byte{6};
    for (uint32_t i = 0; i < model.size(); ++i)
        model[i].id += i;
    return model;
}

std::string xen_file(const HvmContext& context, const std::vector<ModelSection>& model,
                     const XenFileOptions& options)
{
    XenBytes out;
    out.raw(std::string_view("Xen saved domain, xl format\n \0 \r", 32));
    out.little(4, 0x01020304).little(4, options.mandatory).little(4, 0);
    out.little(4, options.config.size() + 5).little(4, options.config.size() + 1);
    out.raw(options.config).little(1, 0).align();
    out.raw("LibxlFmt").big(4, 2).big(4, options.libxl_options).record(1, "");
    out.little(8, UINT64_MAX).big(4, 0x58454e46).big(4, 3).big(8, 0);
    out.little(4, options.guest_type).little(4, 12).little(4, 4).little(4, 17);
    out.record(16, "").raw(options.more_libxc).raw(pages_record());
    out.record(8, XenBytes().little(4, 2).little(4, 0).little(8, 0).little(8, 1).text());
    out.record(10, XenBytes().little(8, 1).little(8, 1).little(8, 0xfeffc).text());
    out.record(9, as_text(join_hvm_context(context))).record(0, "");
    out.record(3, XenBytes().little(4, 2).little(4, 0).raw(join_model(model)).text());
    return out.record(0, "").text();
}

std::string small_xen_file()
{
    return xen_file(legal_context(1, 1), small_model());
}

} // namespace drover::testing
