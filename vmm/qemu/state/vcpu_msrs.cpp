// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/vcpu_msrs.h"

#include "vmm/qemu/state/device_bytes.h"

#include <algorithm>
#include <map>

namespace drover::qemu {

namespace {

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
    {"", "env.wall_clock_msr", 0x4b564d00},
    {"", "env.system_time_msr", 0x4b564d01},
    {"[cpu/async_pf_msr]", "env.async_pf_en_msr", 0x4b564d02},
    {"[cpu/steal_time_msr]", "env.steal_time_msr", 0x4b564d03},
    {"[cpu/async_pv_eoi_msr]", "env.pv_eoi_en_msr", 0x4b564d04},
    {"[cpu/poll_control_msr]", "env.poll_control_msr", 0x4b564d05},
    {"[cpu/async_pf_int_msr]", "env.async_pf_int_msr", 0x4b564d06},
    {"[cpu/msr_tsc_adjust]", "env.tsc_adjust", 0x3b},
    {"[cpu/spec_ctrl]", "env.spec_ctrl", 0x48},
    {"[cpu/msr_tscdeadline]", "env.tsc_deadline", 0x6e0},
    {"[cpu/msr_ia32_misc_enable]", "env.msr_ia32_misc_enable", 0x1a0},
    {"[cpu/msr_ia32_feature_control]", "env.msr_ia32_feature_control", 0x3a},
    {"[cpu/msr_smi_count]", "env.msr_smi_count", 0x34},
    {"[cpu/xss]", "env.xss", 0xda0},
    {"[cpu/virt_ssbd]", "env.virt_ssbd", 0xc001011f},
    {"[cpu/amd_tsc_scale_msr]", "env.amd_tsc_scale_msr", 0xc0000104},
};

constexpr uint32_t fixed_mtrrs[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                    0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
constexpr uint32_t first_variable_mtrr = 0x200;
constexpr size_t variable_mtrrs = 8;
constexpr uint32_t first_mc_bank = 0x400;
constexpr size_t mc_banks = 10;
constexpr size_t mc_bank_msrs = 4;

std::string field_of(const MsrField& msr)
{
    return *msr.subsection == '\0' ? msr.field : std::string(msr.subsection) + "/" + msr.field;
}

std::string variable_mtrr(uint32_t number, const char* part)
{
    return "env.mtrr_var[" + std::to_string(number) + "]/" + part;
}

} // namespace

uint64_t msr_of(const state::Vcpu& vcpu, uint32_t index)
{
    const auto found = std::ranges::find(vcpu.msrs, index, &state::Msr::index);
    return found != vcpu.msrs.end() ? found->value : 0;
}

void read_msrs(FieldReader& fields, state::Vcpu& vcpu)
{
    std::map<uint32_t, uint64_t> msrs;
    for (const MsrField& msr : msr_fields)
        if (const std::string name = field_of(msr); *msr.subsection == '\0' || fields.has(name))
            msrs[msr.index] = fields.get(name);
    const auto fixed = fields.get_list("env.mtrr_fixed", std::size(fixed_mtrrs));
    for (size_t i = 0; i < fixed.size(); ++i)
        msrs[fixed_mtrrs[i]] = fixed[i];
    for (uint32_t i = 0; i < variable_mtrrs; ++i) {
        msrs[first_variable_mtrr + 2 * i] = fields.get(variable_mtrr(i, "base"));
        msrs[first_variable_mtrr + 2 * i + 1] = fields.get(variable_mtrr(i, "mask"));
    }
    const auto banks = fields.get_list("env.mce_banks", mc_banks * mc_bank_msrs);
    for (uint32_t i = 0; i < banks.size(); ++i)
        msrs[first_mc_bank + i] = banks[i];
    for (const auto& [index, value] : msrs)
        vcpu.msrs.push_back({index, value});
}

void add_msr_subsections(state::Device& device, const state::Vcpu& vcpu)
{
    for (const MsrField& msr : msr_fields) {
        if (*msr.subsection == '\0' || find_field(device, field_of(msr)) != nullptr ||
            msr_of(vcpu, msr.index) == 0)
            continue;
        device.fields.push_back({msr.subsection, std::string(subsection_type), {0, 0, 0, 1}});
        device.fields.push_back({field_of(msr), "uint64", std::vector<uint8_t>(sizeof(uint64_t))});
    }
}

void write_msrs(FieldWriter& fields, const state::Vcpu& vcpu)
{
    for (const MsrField& msr : msr_fields)
        fields.set(field_of(msr), msr_of(vcpu, msr.index));
    for (size_t i = 0; i < std::size(fixed_mtrrs); ++i)
        fields.set_element("env.mtrr_fixed", i, std::size(fixed_mtrrs),
                           msr_of(vcpu, fixed_mtrrs[i]));
    for (uint32_t i = 0; i < variable_mtrrs; ++i) {
        const uint32_t first = first_variable_mtrr + 2 * i;
        fields.set(variable_mtrr(i, "base"), msr_of(vcpu, first));
        fields.set(variable_mtrr(i, "mask"), msr_of(vcpu, first + 1));
    }
    for (uint32_t i = 0; i < mc_banks * mc_bank_msrs; ++i)
        fields.set_element("env.mce_banks", i, mc_banks * mc_bank_msrs,
                           msr_of(vcpu, first_mc_bank + i));
}

} // namespace drover::qemu
