// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/host_facts.h"

#include <cstddef>
#include <cstdint>
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

/// Takes the RAM out of the command line: each memory back-end that is guest RAM becomes a shared
/// memory-backend-file whose mem-path is ram_placeholder; a machine without one gets one.
/// RamFile::argument is the index of the back-end's Word. `notes` gets one line for each piece of
/// RAM that stays with QEMU.
[[nodiscard]] Result<std::vector<RamFile>> plan_ram(CommandLine& line,
                                                    std::string_view architecture,
                                                    const HostFacts& host,
                                                    std::vector<std::string>& notes);

} // namespace drover::qemu
