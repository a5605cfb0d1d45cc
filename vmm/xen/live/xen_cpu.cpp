// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_cpu.h"

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <vector>

#undef __STRICT_ANSI__ // Xen's headers want GNU's dialect, and do not know of C++
extern "C" {
#include <xenctrl.h>
#include <xenguest.h>
}

namespace drover::xen {

namespace {

struct FeatureRegister {
    uint32_t leaf;
    uint32_t subleaf;
    uint32_t CpuidLeaf::*value;
    const char* name;
};

constexpr FeatureRegister feature_list[] = {
    {0x1, 0, &CpuidLeaf::edx, "CPUID.1.0:EDX"},
    {0x1, 0, &CpuidLeaf::ecx, "CPUID.1.0:ECX"},
    {0x7, 0, &CpuidLeaf::ebx, "CPUID.7.0:EBX"},
    {0x7, 0, &CpuidLeaf::ecx, "CPUID.7.0:ECX"},
    {0x7, 0, &CpuidLeaf::edx, "CPUID.7.0:EDX"},
    {0x7, 1, &CpuidLeaf::eax, "CPUID.7.1:EAX"},
    {0xd, 1, &CpuidLeaf::eax, "CPUID.D.1:EAX"},
    {0x80000001, 0, &CpuidLeaf::edx, "CPUID.80000001.0:EDX"},
    {0x80000001, 0, &CpuidLeaf::ecx, "CPUID.80000001.0:ECX"},
    {0x80000007, 0, &CpuidLeaf::edx, "CPUID.80000007.0:EDX"},
    {0x80000008, 0, &CpuidLeaf::ebx, "CPUID.80000008.0:EBX"},
};

struct CloseControl {
    void operator()(xc_interface* control) const { xc_interface_close(control); }
};
struct FreePolicy {
    void operator()(xc_cpu_policy_t* policy) const { xc_cpu_policy_destroy(policy); }
};

Result<Json> features_of(const std::function<int(xc_interface*, xc_cpu_policy_t*)>& get)
{
    const std::unique_ptr<xc_interface, CloseControl> control(
        xc_interface_open(nullptr, nullptr, 0));
    const std::unique_ptr<xc_cpu_policy_t, FreePolicy> policy(xc_cpu_policy_init());
    uint32_t leaf_count = 0;
    uint32_t msr_count = 0;
    if (!control || !policy || get(control.get(), policy.get()) < 0 ||
        xc_cpu_policy_get_size(control.get(), &leaf_count, &msr_count) < 0)
        return fail_errno("asking Xen about the guest's CPU", errno);
    std::vector<xen_cpuid_leaf_t> told(leaf_count);
    std::vector<xen_msr_entry_t> registers(msr_count);
    if (xc_cpu_policy_serialise(control.get(), policy.get(), told.data(), &leaf_count,
                                registers.data(), &msr_count) < 0)
        return fail_errno("asking Xen what the guest's CPU has", errno);
    std::vector<CpuidLeaf> leaves;
    for (const xen_cpuid_leaf_t& leaf : std::span(told).first(leaf_count))
        leaves.push_back({leaf.leaf, leaf.subleaf, leaf.a, leaf.b, leaf.c, leaf.d});
    return feature_registers(leaves);
}

} // namespace

Json feature_registers(std::span<const CpuidLeaf> leaves)
{
    Json registers = Json::object();
    for (const FeatureRegister& feature : feature_list) {
        registers[feature.name] = 0U; // what is not told the CPU has not
        for (const CpuidLeaf& leaf : leaves)
            if (leaf.leaf == feature.leaf &&
                (leaf.subleaf == feature.subleaf || leaf.subleaf == XEN_CPUID_NO_SUBLEAF))
                registers[feature.name] = leaf.*feature.value;
    }
    return registers;
}

Result<Json> cpu_features(std::optional<uint32_t> domain)
{
    return features_of([domain](xc_interface* control, xc_cpu_policy_t* policy) {
        return domain
                   ? xc_cpu_policy_get_domain(control, *domain, policy)
                   : xc_cpu_policy_get_system(control, XEN_SYSCTL_cpu_policy_hvm_default, policy);
    });
}

Result<Json> most_cpu_features()
{
    return features_of([](xc_interface* control, xc_cpu_policy_t* policy) {
        return xc_cpu_policy_get_system(control, XEN_SYSCTL_cpu_policy_hvm_max, policy);
    });
}

} // namespace drover::xen
