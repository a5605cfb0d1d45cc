// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace drover::xen {

/// Bits by register, named as QEMU does ("CPUID.7.0:EBX").
using RegisterBits = std::map<std::string, uint64_t>;

/// What a guest has not seen so far of what a domain may have (both as a machine's "cpu_features").
/// It must not appear under it: programs that start would use it, and then the guest could not go
/// back. Registers that the guest's source does not tell are left alone.
[[nodiscard]] RegisterBits features_to_hide(const Json& seen, const Json& offered);

/// `features` without those bits.
[[nodiscard]] Json without_features(Json features, const RegisterBits& hidden);

/// "CPUID.7.0:EBX" in the words of xl.cfg's cpuid=, which hides these bits: "0x7,0:ebx=xx…0…"; the
/// subleaf only where the leaf has some. Empty where nothing is hidden.
[[nodiscard]] std::string xl_cpuid_word(const std::string& register_name, uint64_t hidden);

/// One a register that hides something.
[[nodiscard]] std::vector<std::string> xl_cpuid_words(const RegisterBits& hidden);

} // namespace drover::xen
