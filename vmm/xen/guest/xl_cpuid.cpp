// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/xl_cpuid.h"

#include "migration/session/cpu_check.h"

#include <algorithm>
#include <cstdio>

namespace drover::xen {

RegisterBits features_to_hide(const Json& seen, const Json& offered)
{
    RegisterBits hidden;
    for (const auto& [name, value] : offered.items())
        if (seen.is_object() && seen.contains(name))
            hidden[name] = json_u64(offered, name.c_str()) & ~json_u64(seen, name.c_str()) &
                           bits_between_kinds(name);
    return hidden;
}

Json without_features(Json features, const RegisterBits& hidden)
{
    for (const auto& [name, bits] : hidden)
        if (features.contains(name))
            features[name] = json_u64(features, name.c_str()) & ~bits;
    return features;
}

std::string xl_cpuid_word(const std::string& register_name, uint64_t hidden)
{
    unsigned leaf = 0;
    unsigned subleaf = 0;
    char name[4] = "";
    if (hidden == 0 ||
        sscanf(register_name.c_str(), "CPUID.%x.%x:%3[A-Z]", &leaf, &subleaf, name) != 3)
        return "";
    std::string low = name;
    std::ranges::transform(low, low.begin(), [](char c) { return static_cast<char>(c | 0x20); });
    char place[32];
    if (leaf == 7 || leaf == 0xd)
        snprintf(place, sizeof place, "0x%x,%u:%s=", leaf, subleaf, low.c_str());
    else
        snprintf(place, sizeof place, "0x%x:%s=", leaf, low.c_str());
    std::string word = place;
    for (unsigned bit = 32; bit-- > 0;)
        word += (hidden >> bit & 1) != 0 ? '0' : 'x';
    return word;
}

std::vector<std::string> xl_cpuid_words(const RegisterBits& hidden)
{
    std::vector<std::string> words;
    for (const auto& [name, bits] : hidden)
        if (auto word = xl_cpuid_word(name, bits); !word.empty())
            words.push_back(std::move(word));
    return words;
}

} // namespace drover::xen
