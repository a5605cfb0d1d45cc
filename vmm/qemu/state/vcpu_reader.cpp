// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/vcpu_reader.h"

#include "vmm/qemu/state/field_reader.h"

#include <algorithm>
#include <map>

namespace drover::qemu {

namespace {

// Bits of QEMU's own flags (target/i386/cpu.h) that no register has.
constexpr uint64_t hflag_interrupt_shadow = 1U << 3;
constexpr uint64_t hflag_smm = 1U << 19;
constexpr uint64_t hflag2_nmi_masked = 1U << 2;

/// KVM_MP_STATE_… of Linux' KVM API, 4.38; QEMU keeps it under TCG too, always 0 there.
struct KvmRunState {
    enum : uint64_t { Runnable, Uninitialized, InitReceived, Halted, SipiReceived };
};

struct MsrField {
    const char* subsection; ///< empty: of the section itself
    const char* field;
    uint32_t index;
};

constexpr MsrField msr_fields[] = {
    {"", "env.sysenter_cs", 0x174},
    {"", "env.sysenter_esp", 0x175},
    {"", "env.sysenter_eip", 0x176},
    {"", "env.mcg_cap", 0x179},
    {"", "env.mcg_status", 0x17a},
    {"", "env.mcg_ctl", 0x17b},
    {"", "env.pat", 0x277},
    {"", "env.mtrr_deftype", 0x2ff},
    {"", "env.efer", 0xc0000080},
    {"", "env.star", 0xc0000081},
    {"", "env.lstar", 0xc0000082},
    {"", "env.cstar", 0xc0000083},
    {"", "env.fmask", 0xc0000084},
    {"", "env.kernelgsbase", 0xc0000102},
    {"", "env.tsc_aux", 0xc0000103},
    {"", "env.vm_hsave", 0xc0010117},
    {"cpu/msr_tsc_adjust", "env.tsc_adjust", 0x3b},
    {"cpu/spec_ctrl", "env.spec_ctrl", 0x48},
    {"cpu/msr_tscdeadline", "env.tsc_deadline", 0x6e0},
    {"cpu/msr_ia32_misc_enable", "env.msr_ia32_misc_enable", 0x1a0},
    {"cpu/msr_ia32_feature_control", "env.msr_ia32_feature_control", 0x3a},
    {"cpu/msr_smi_count", "env.msr_smi_count", 0x34},
    {"cpu/xss", "env.xss", 0xda0},
    {"cpu/virt_ssbd", "env.virt_ssbd", 0xc001011f},
    {"cpu/amd_tsc_scale_msr", "env.amd_tsc_scale_msr", 0xc0000104},
};

constexpr uint32_t fixed_mtrrs[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                    0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
constexpr uint32_t first_variable_mtrr = 0x200;
constexpr size_t variable_mtrrs = 8;
constexpr uint32_t first_mc_bank = 0x400;
constexpr size_t mc_banks = 10;
constexpr size_t mc_bank_msrs = 4;

struct NotCarried {
    const char* field; ///< the beginning of its name
    const char* reason;
};

constexpr NotCarried not_carried[] = {
    {"env.fpregs_format_vmstate", "how the numbers before it are laid out"},
    {"env.a20_mask", "address line 20 is never masked after the firmware"},
    {"env.smbase", "system management mode is entered by firmware only, at its usual place"},
    {"env.vm_vmcb", "of a guest's guest under TCG"},
    {"env.tsc_offset", "of a guest's guest under TCG"},
    {"env.intercept", "of a guest's guest under TCG"},
    {"env.v_tpr", "of a guest's guest under TCG"},
    {"env.sipi_vector", "a vCPU that was sent one has taken it when it is paused"},
    {"env.system_time_msr", "the clock of KVM for its guests: each hypervisor's own"},
    {"env.wall_clock_msr", "the clock of KVM for its guests: each hypervisor's own"},
    {"cpu/async_pf", "KVM's own"},
    {"cpu/pv_eoi", "KVM's own"},
    {"cpu/steal_time", "KVM's own"},
    {"cpu/poll_control_msr", "KVM's own"},
};

class VcpuReader {
public:
    VcpuReader(const SavedSection& section, const ByteSource& source)
        : fields_(section.state, source)
    {
        vcpu_.number = static_cast<uint32_t>(section.instance);
    }

    Result<state::Vcpu> read()
    {
        read_general();
        read_segments();
        read_control();
        read_floating_point();
        read_vectors();
        read_events();
        read_msrs();
        if (!fields_.status())
            return std::unexpected(fields_.status().error());
        return std::move(vcpu_);
    }

    void tell_left_over(std::vector<std::string>& told) const
    {
        for (const std::string& name : fields_.left_over()) {
            const auto known = std::ranges::find_if(
                not_carried, [&name](const auto& each) { return name.starts_with(each.field); });
            const std::string text =
                name + ": " + (known != std::end(not_carried) ? known->reason : "not known here");
            if (std::ranges::find(told, text) == told.end())
                told.push_back(text);
        }
    }

private:
    void read_general()
    {
        const auto registers = fields_.numbers({"env.regs"}, vcpu_.general.size());
        std::ranges::copy(registers, vcpu_.general.begin());
        vcpu_.rip = fields_.number({"env.eip"});
        vcpu_.rflags = fields_.number({"env.eflags"});
        vcpu_.tsc = fields_.number({"env.tsc"});
        switch (fields_.number({"env.mp_state"})) {
        case KvmRunState::Uninitialized: vcpu_.run_state = state::RunState::WaitsForInit; break;
        case KvmRunState::InitReceived: vcpu_.run_state = state::RunState::WaitsForSipi; break;
        case KvmRunState::Halted: vcpu_.run_state = state::RunState::Halted; break;
        default: break;
        }
    }

    void read_segments()
    {
        static constexpr const char* names[] = {"env.segs[0]", "env.segs[1]", "env.segs[2]",
                                                "env.segs[3]", "env.segs[4]", "env.segs[5]",
                                                "env.ldt",     "env.tr"};
        for (size_t i = 0; i < state::segment_count; ++i) {
            state::Segment& segment = vcpu_.segments[i];
            segment.selector = static_cast<uint16_t>(fields_.number({names[i], "selector"}));
            segment.base = fields_.number({names[i], "base"});
            segment.limit = static_cast<uint32_t>(fields_.number({names[i], "limit"}));
            // QEMU keeps the descriptor's upper half.
            const uint64_t flags = fields_.number({names[i], "flags"});
            segment.attributes = static_cast<uint16_t>((flags >> 8 & 0xff) | (flags >> 12 & 0xf00));
        }
        vcpu_.gdtr = read_table("env.gdt");
        vcpu_.idtr = read_table("env.idt");
    }

    state::DescriptorTable read_table(std::string_view name)
    {
        fields_.pass_over({name, "selector"}); // a table has neither
        fields_.pass_over({name, "flags"});
        return {.base = fields_.number({name, "base"}),
                .limit = static_cast<uint16_t>(fields_.number({name, "limit"}))};
    }

    void read_control()
    {
        vcpu_.cr0 = fields_.number({"env.cr[0]"});
        vcpu_.cr2 = fields_.number({"env.cr[2]"});
        vcpu_.cr3 = fields_.number({"env.cr[3]"});
        vcpu_.cr4 = fields_.number({"env.cr[4]"});
        const auto debug = fields_.numbers({"env.dr"}, 8);
        std::copy_n(debug.begin(), vcpu_.breakpoints.size(), vcpu_.breakpoints.begin());
        vcpu_.dr6 = debug[6];
        vcpu_.dr7 = debug[7];
        vcpu_.xcr0 = fields_.number({"env.xcr0"});
        vcpu_.xstate_in_use = fields_.number({"env.xstate_bv"});
    }

    void read_floating_point()
    {
        vcpu_.fcw = static_cast<uint16_t>(fields_.number({"env.fpuc"}));
        vcpu_.fsw = static_cast<uint16_t>(fields_.number({"env.fpus_vmstate"}));
        vcpu_.ftw = static_cast<uint8_t>(fields_.number({"env.fptag_vmstate"}));
        vcpu_.mxcsr = static_cast<uint32_t>(fields_.number({"env.mxcsr"}));
        for (size_t i = 0; i < vcpu_.x87.size(); ++i) {
            const std::string name = "env.fpregs[" + std::to_string(i) + "]";
            vcpu_.x87[i] = {.significand = fields_.number({name, "tmp", "tmp_mant"}),
                            .sign_and_exponent =
                                static_cast<uint16_t>(fields_.number({name, "tmp", "tmp_exp"}))};
        }
    }

    /// QEMU 7.2 numbers the parts of a register in its description's names, others may not.
    void read_vectors()
    {
        for (size_t i = 0; i < vcpu_.xmm.size(); ++i) {
            const std::string number = "[" + std::to_string(i) + "]";
            const std::string low = "env.xmm_regs[0]" + number;
            const std::string high = "env.xmm_regs[1]" + number;
            vcpu_.xmm[i] = {fields_.number({low, "_q_ZMMReg[0]"}),
                            fields_.number({low, "_q_ZMMReg[1]"})};
            if (fields_.has({high}))
                vcpu_.ymm_high[i] = {fields_.number({high, "_q_ZMMReg[2]"}),
                                     fields_.number({high, "_q_ZMMReg[3]"})};
        }
    }

    void read_events()
    {
        state::PendingEvents& events = vcpu_.events;
        const uint64_t flags = fields_.number({"env.hflags"});
        const uint64_t more_flags = fields_.number({"env.hflags2"});
        events.interrupt_shadow = (flags & hflag_interrupt_shadow) != 0;
        events.smm = (flags & hflag_smm) != 0;
        events.nmi_masked = (more_flags & hflag2_nmi_masked) != 0;
        events.nmi_injected = fields_.number({"env.nmi_injected"}) != 0;
        events.nmi_pending = fields_.number({"env.nmi_pending"}) != 0;
        // -1 in 32 bits: none.
        const auto exception = static_cast<int32_t>(fields_.number({"env.exception_nr"}));
        events.exception = exception >= 0;
        events.vector = static_cast<uint8_t>(events.exception ? exception : 0);
        events.has_error_code = fields_.number({"env.has_error_code"}) != 0;
        const auto interrupt = static_cast<int32_t>(fields_.number({"env.interrupt_injected"}));
        events.interrupt = interrupt >= 0;
        events.interrupt_vector = static_cast<uint8_t>(events.interrupt ? interrupt : 0);
        events.interrupt_is_soft = fields_.number({"env.soft_interrupt"}) != 0;
    }

    void read_msrs()
    {
        std::map<uint32_t, uint64_t> msrs;
        for (const MsrField& msr : msr_fields) {
            if (*msr.subsection == '\0')
                msrs[msr.index] = fields_.number({msr.field});
            else if (fields_.has({msr.subsection, msr.field}))
                msrs[msr.index] = fields_.number({msr.subsection, msr.field});
        }
        const auto fixed = fields_.numbers({"env.mtrr_fixed"}, std::size(fixed_mtrrs));
        for (size_t i = 0; i < fixed.size(); ++i)
            msrs[fixed_mtrrs[i]] = fixed[i];
        for (uint32_t i = 0; i < variable_mtrrs; ++i) {
            const std::string name = "env.mtrr_var[" + std::to_string(i) + "]";
            msrs[first_variable_mtrr + 2 * i] = fields_.number({name, "base"});
            msrs[first_variable_mtrr + 2 * i + 1] = fields_.number({name, "mask"});
        }
        const auto banks = fields_.numbers({"env.mce_banks"}, mc_banks * mc_bank_msrs);
        for (uint32_t i = 0; i < banks.size(); ++i)
            msrs[first_mc_bank + i] = banks[i];
        for (const auto& [index, value] : msrs)
            vcpu_.msrs.push_back({index, value});
    }

    FieldReader fields_;
    state::Vcpu vcpu_;
};

/// Beside the vCPU's own section: under TCG nothing else knows that it sleeps.
bool is_halted(const QemuState& state, const ByteSource& source, uint64_t instance)
{
    for (const SavedSection& section : state.sections)
        if (section.name == "cpu_common" && section.instance == instance)
            return FieldReader(section.state, source).number({"halted"}) != 0;
    return false;
}

bool waits_for_sipi(const QemuState& state, const ByteSource& source, uint64_t instance)
{
    for (const SavedSection& section : state.sections)
        if (section.name == "apic" && section.instance == instance)
            return FieldReader(section.state, source).number({"apic_sipi", "wait_for_sipi"}) != 0;
    return false;
}

} // namespace

Result<ReadVcpus> read_vcpus(const QemuState& state, const ByteSource& source)
{
    ReadVcpus result;
    for (const SavedSection& section : state.sections) {
        if (section.name != "cpu")
            continue;
        VcpuReader reader(section, source);
        auto vcpu = reader.read();
        if (!vcpu)
            return std::unexpected(
                std::move(vcpu.error()).in("vCPU " + std::to_string(section.instance)));
        reader.tell_left_over(result.not_carried);
        if (vcpu->run_state == state::RunState::Running &&
            is_halted(state, source, section.instance))
            vcpu->run_state = waits_for_sipi(state, source, section.instance)
                                  ? state::RunState::WaitsForSipi
                                  : state::RunState::Halted;
        result.vcpus.push_back(std::move(*vcpu));
    }
    if (result.vcpus.empty())
        return fail(ErrorKind::Incompatible, "the stream holds no vCPU of an x86 machine");
    std::ranges::sort(result.vcpus, {}, &state::Vcpu::number);
    return result;
}

} // namespace drover::qemu
