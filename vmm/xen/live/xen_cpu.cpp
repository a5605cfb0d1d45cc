// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_cpu.h"

#include "migration/session/cpu_check.h"

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

constexpr FeatureRegister registers_told[] = {
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

using GetPolicy = std::function<int(xc_interface*, xc_cpu_policy_t*)>;
using Control = std::unique_ptr<xc_interface, CloseControl>;

Result<std::vector<CpuidLeaf>> leaves_of(const Control& control, const GetPolicy& get)
{
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
    return leaves;
}

Result<Json> features_of(const GetPolicy& get)
{
    const auto leaves = leaves_of(Control(xc_interface_open(nullptr, nullptr, 0)), get);
    return leaves ? feature_registers(*leaves) : Result<Json>(std::unexpected(leaves.error()));
}

int default_policy(xc_interface* control, xc_cpu_policy_t* policy)
{
    return xc_cpu_policy_get_system(control, XEN_SYSCTL_cpu_policy_hvm_default, policy);
}

/// Twelve letters in three registers of leaf 0 (SDM2 CPUID).
std::string vendor_of(std::span<const CpuidLeaf> leaves)
{
    std::string vendor;
    for (const CpuidLeaf& leaf : leaves)
        for (const uint32_t part : {leaf.ebx, leaf.edx, leaf.ecx})
            for (unsigned at = 0; leaf.leaf == 0 && at < 32; at += 8)
                vendor += static_cast<char>(part >> at & 0xff);
    return vendor;
}

} // namespace

Json feature_registers(std::span<const CpuidLeaf> leaves)
{
    Json registers = Json::object();
    for (const FeatureRegister& feature : registers_told) {
        registers[feature.name] = 0U; // what is not told the CPU has not
        for (const CpuidLeaf& leaf : leaves)
            if (leaf.leaf == feature.leaf &&
                (leaf.subleaf == feature.subleaf || leaf.subleaf == XEN_CPUID_NO_SUBLEAF))
                registers[feature.name] = leaf.*feature.value;
    }
    return registers;
}

Json cpu_description(std::span<const CpuidLeaf> leaves, const std::string& version)
{
    Json registers = feature_registers(leaves);
    Json features = Json::array();
    for (const auto& [name, value] : registers.items())
        for (std::string& feature : feature_list(name, value.get<uint64_t>()))
            features.push_back(std::move(feature));
    return {{"version", version},
            {"accelerator", "xen"},
            {"vendor", vendor_of(leaves)},
            {"features", std::move(features)},
            {"known", Json::array()},
            {"models", Json::object()},
            {"registers", std::move(registers)}};
}

Result<Json> describe_host_cpu()
{
    const Control control(xc_interface_open(nullptr, nullptr, 0));
    const auto leaves = leaves_of(control, default_policy);
    if (!leaves)
        return std::unexpected(leaves.error());
    const auto version = static_cast<uint32_t>(xc_version(control.get(), XENVER_version, nullptr));
    return cpu_description(*leaves,
                           std::to_string(version >> 16) + "." + std::to_string(version & 0xffff));
}

Result<Json> cpu_features(std::optional<uint32_t> domain)
{
    return features_of([domain](xc_interface* control, xc_cpu_policy_t* policy) {
        return domain ? xc_cpu_policy_get_domain(control, *domain, policy)
                      : default_policy(control, policy);
    });
}

Result<Json> most_cpu_features()
{
    return features_of([](xc_interface* control, xc_cpu_policy_t* policy) {
        return xc_cpu_policy_get_system(control, XEN_SYSCTL_cpu_policy_hvm_max, policy);
    });
}

} // namespace drover::xen
