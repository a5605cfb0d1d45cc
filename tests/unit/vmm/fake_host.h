// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/host_facts.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::qemu {

/// A host as a test wants it.
struct FakeHost {
    std::map<std::string, PathKind> paths = {{"/dev/shm", PathKind::Directory},
                                             {"/dev/hugepages", PathKind::Directory}};
    std::map<std::string, std::string> files;
    std::map<std::string, bool> programs = {{"/usr/bin/qemu-system-x86_64", false},
                                            {"/usr/bin/qemu-system-aarch64", false}};
    KvmFact kvm = {true, {}};
    int kvm_asked = 0;

    /// Refers to this object.
    HostFacts facts()
    {
        HostFacts facts;
        facts.search_path = "/usr/local/bin:/usr/bin";
        facts.is_executable = [this](const std::string& path) { return programs.contains(path); };
        facts.is_own_executable = [this](const std::string& path) { return programs.at(path); };
        facts.path_kind = [this](const std::string& path) {
            const auto found = paths.find(path);
            if (found == paths.end())
                return files.contains(path) ? PathKind::File : PathKind::Missing;
            return found->second;
        };
        facts.read_file = [this](const std::string& path) -> std::optional<std::string> {
            const auto found = files.find(path);
            return found == files.end() ? std::nullopt : std::optional(found->second);
        };
        facts.default_memory = [](const std::string&, const std::string& machine) {
            return machine == "raspi3b" ? std::optional<uint64_t>(1ULL << 30) : std::nullopt;
        };
        facts.holds_data = [this](const std::string& path) {
            const auto found = files.find(path);
            return found != files.end() && !found->second.empty();
        };
        facts.has_huge_pages = [](const std::string& directory) {
            return directory.starts_with("/dev/hugepages");
        };
        facts.kvm = [this] {
            ++kvm_asked;
            return kvm;
        };
        return facts;
    }
};

/// "a b 'c d'" as a shell would cut it, as far as tests need.
inline std::vector<std::string> words(std::string_view text)
{
    std::vector<std::string> list;
    std::string word;
    bool quoted = false;
    bool any = false;
    for (const char c : text) {
        if (c == '\'') {
            quoted = !quoted;
            any = true;
        } else if (c == ' ' && !quoted) {
            if (any)
                list.push_back(word);
            word.clear();
            any = false;
        } else {
            word += c;
            any = true;
        }
    }
    if (any)
        list.push_back(word);
    return list;
}

inline std::string joined(const std::vector<std::string>& list)
{
    std::string text;
    for (const std::string& word : list)
        text += (text.empty() ? "" : " ") + word;
    return text;
}

} // namespace drover::qemu
