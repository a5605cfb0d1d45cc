// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace drover::tools {

using FeatureNames = std::set<std::string>; ///< as QEMU's -cpu spells them

/// What one host can give its guests: vmm/qemu/cpu_description.h, read and bounded.
struct CpuHost {
    std::string name; ///< for people
    std::string version;
    std::string accelerator;
    std::string vendor;
    FeatureNames features;
    FeatureNames known;
    std::map<std::string, FeatureNames> models;
    /// Of a Xen host, which has no models: all that its guests see, by CPUID's registers.
    std::map<std::string, uint64_t> registers;

    [[nodiscard]] bool is_xen() const { return accelerator == "xen"; }
    /// Whether a guest that has this feature elsewhere finds it here.
    [[nodiscard]] bool has(const std::string& feature) const;

    /// Nothing of it is trusted: it may come from a file or a network.
    [[nodiscard]] static Result<CpuHost> from_json(std::string name, const Json& description);
};

/// A CPU that guests can have on all of the hosts.
struct CpuBaseline {
    std::string model; ///< with its version
    std::string words; ///< for -cpu: the model and what is added and taken away; where all
                       ///< hosts are Xen's: nothing
    /// By Xen host: the value of cpuid= in configurations of xl's, empty where none is needed.
    std::map<std::string, std::string> xl_words;
    FeatureNames features; ///< all that the guest sees; not those of paravirtual interfaces
    std::vector<std::string> left_out; ///< "avx2: not on HOST": what some hosts have and others not
    std::vector<std::string> notes;    ///< what is unsafe, in words
    std::map<std::string, uint64_t> registers; ///< CPUID's and MSRs that say so
    uint64_t xcr0 = 0;                         ///< what the guest can switch on
    uint64_t xsave_bytes = 0;                  ///< of its area, in the standard format

    [[nodiscard]] Json to_json() const;
};

/// Pure. An error names the host that has nothing in common with others.
[[nodiscard]] Result<CpuBaseline> cpu_baseline(const std::vector<CpuHost>& hosts);

} // namespace drover::tools
