// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace drover::qemu {

/// Links are followed; Other is a device, a socket, …
enum class PathKind { Missing, File, Directory, Other };

struct KvmFact {
    bool usable = false; ///< it runs code, and as fast as hardware does
    std::string reason;  ///< why not, as the user will read it
    bool runs = usable;  ///< it runs code, however slowly
};

/// What planning a launch must know of the host. A value full of functions, so that tests can give
/// it any host; each function may be called more than once, or never.
struct HostFacts {
    std::string search_path; ///< $PATH
    std::function<bool(const std::string&)> is_executable;
    /// Whether the file is the program that is running now (through links).
    std::function<bool(const std::string&)> is_own_executable;
    std::function<PathKind(const std::string&)> path_kind;
    std::function<std::optional<std::string>(const std::string&)> read_file;
    /// Starts this QEMU and asks it (ask_default_memory).
    std::function<std::optional<uint64_t>(const std::string& binary, const std::string& machine)>
        default_memory;
    /// Whether anything was ever written to the file; a hole or no file at all holds nothing.
    std::function<bool(const std::string&)> holds_data;
    /// Whether files in that directory are made of huge pages.
    std::function<bool(const std::string&)> has_huge_pages;
    /// Runs code under KVM, so it takes up to a second: asked only where KVM is wanted.
    std::function<KvmFact()> kvm;

    [[nodiscard]] static HostFacts of_this_host();
};

} // namespace drover::qemu
