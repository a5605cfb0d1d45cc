// SPDX-License-Identifier: GPL-2.0-or-later
//
// The names of CPUID's bits, as QEMU's -cpu spells them; from bit 0 on, "-" for one that has none.
#include "migration/session/cpu_check.h"

#include <algorithm>
#include <sstream>

namespace drover {

namespace {

struct NamedRegister {
    std::string_view name;
    const char* bits;
};

// clang-format off
constexpr NamedRegister named_registers[] = {
    {"CPUID.1.0:EDX", "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi "
                      "mmx fxsr sse sse2 ss ht tm ia64 pbe"},
    {"CPUID.1.0:ECX", "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid dca "
                      "sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave osxsave avx f16c rdrand hypervisor"},
    {"CPUID.6.0:EAX", "- - arat"},
    {"CPUID.7.0:EBX", "fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f avx512dq "
                      "rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni "
                      "avx512bw avx512vl"},
    {"CPUID.7.0:ECX", "- avx512vbmi umip pku ospke waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni avx512bitalg "
                      "- avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri movdir64b - "
                      "sgxlc pks"},
    {"CPUID.7.0:EDX", "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize - "
                      "tsx-ldtrk - - arch-lbr - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d "
                      "arch-capabilities core-capability ssbd"},
    {"CPUID.7.1:EAX", "- - - - avx-vnni avx512-bf16 - - - - fzrm fsrs fsrc"},
    {"CPUID.D.1:EAX", "xsaveopt xsavec xgetbv1 xsaves"},
    {"CPUID.40000001.0:EAX", "kvmclock kvm-nopiodelay kvm-mmu kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi "
                             "kvm-pv-unhalt - kvm-pv-tlb-flush - kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield "
                             "kvm-asyncpf-int kvm-msi-ext-dest-id - - - - - - - - kvmclock-stable-bit"},
    {"CPUID.80000001.0:EDX", "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp - "
                             "lm 3dnowext 3dnow"},
    {"CPUID.80000001.0:ECX", "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs "
                             "xop skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb"},
    {"CPUID.80000007.0:EDX", "- - - - - - - - invtsc"},
    {"CPUID.80000008.0:EBX", "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - - - - - - - - "
                             "amd-ssbd virt-ssbd amd-no-ssb"},
    {"MSR.10A", "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no"},
    {"CPUID.8000000A.0:EDX", "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists - - "
                             "pause-filter - pfthreshold avic - v-vmsave-vmload vgif"},
};
// clang-format on

} // namespace

namespace {

/// The name of each of these bits; empty for one that has none.
std::vector<std::pair<unsigned, std::string>> names_of_bits(const std::string& register_name,
                                                            uint64_t bits)
{
    const auto known = std::ranges::find(named_registers, register_name, &NamedRegister::name);
    std::istringstream words(known != std::end(named_registers) ? known->bits : "");
    std::vector<std::pair<unsigned, std::string>> names;
    for (unsigned bit = 0; bit < 64; ++bit) {
        std::string name;
        if (!(words >> name) || name == "-")
            name.clear();
        if ((bits >> bit & 1) != 0)
            names.emplace_back(bit, std::move(name));
    }
    return names;
}

} // namespace

std::string feature_names(const std::string& register_name, uint64_t bits)
{
    std::string names;
    for (const auto& [bit, name] : names_of_bits(register_name, bits))
        names += (names.empty() ? "" : ", ") +
                 (name.empty() ? "bit " + std::to_string(bit) + " of " + register_name : name);
    return names;
}

std::vector<std::string> feature_list(const std::string& register_name, uint64_t bits)
{
    std::vector<std::string> names;
    for (const auto& [bit, name] : names_of_bits(register_name, bits))
        if (!name.empty())
            names.push_back(name);
    return names;
}

std::optional<std::pair<std::string, unsigned>> register_of_feature(const std::string& name)
{
    for (const NamedRegister& known : named_registers) {
        std::istringstream words(known.bits);
        unsigned bit = 0;
        for (std::string word; words >> word; ++bit)
            if (word == name && word != "-")
                return std::pair(std::string(known.name), bit);
    }
    return std::nullopt;
}

} // namespace drover
