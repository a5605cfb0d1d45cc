// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/host_facts.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::qemu {

/// One block of guest RAM as a file that Drover creates and shares with QEMU.
struct RamFile {
    std::string id;              ///< of QEMU's object, which names the RAM block too
    uint64_t size = 0;           ///< bytes
    std::string directory;       ///< an unlinked file in there (tmpfs, hugetlbfs); empty: a memfd
    std::string path;            ///< the user's own share=on file, kept; else empty
    bool memfd_hugetlb = false;  ///< a memfd of huge pages
    uint64_t huge_page_size = 0; ///< bytes, for memfd_hugetlb; 0: the system's default
    size_t argument = 0; ///< which of the plan's arguments holds the back-end (ram_placeholder)
};

/// Stands in the plan's arguments for the path of the RAM file of that argument.
inline constexpr std::string_view ram_placeholder = "/proc/self/fd/DROVER-RAM";

/// Takes the RAM out of the command line: each memory back-end that is guest RAM, or may be plugged
/// as such later, becomes a shared memory-backend-file whose mem-path is ram_placeholder; a machine
/// without one gets one. The rule: every byte of guest RAM has one carrier. Shared RAM that is not
/// taken here, QEMU would leave out of its stream too (blockers.h refuses it).
/// RamFile::argument is the index of the back-end's Word. `notes` gets one line for each piece of
/// RAM that stays with QEMU.
[[nodiscard]] Result<std::vector<RamFile>> plan_ram(CommandLine& line,
                                                    std::string_view architecture,
                                                    const HostFacts& host,
                                                    std::vector<std::string>& notes);

/// A memory back-end of QMP's object-add, as plan_ram() would have it on the command line.
struct PluggedRam {
    RamFile ram;    ///< `argument` means nothing
    Json arguments; ///< of object-add; its mem-path is ram_placeholder
};

/// Nothing where the object is no memory, or memory that has to stay with QEMU as it is.
/// `arguments` are object-add's.
[[nodiscard]] Result<std::optional<PluggedRam>> plan_plugged_ram(const Json& arguments,
                                                                 const HostFacts& host);

} // namespace drover::qemu
