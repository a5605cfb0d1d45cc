// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <csignal>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

/// How the library that is preloaded into QEMU tells Drover where guest RAM is mapped.
///
/// A userfaultfd belongs to the address space that makes it, so it must be made inside of QEMU, at
/// the moment when the RAM is mapped, before anything is written to it. The library then sends one
/// message for each mapping over a SOCK_SEQPACKET socket, with two userfaultfds attached: one that
/// tracks writes (asynchronous, registered), and one that can make accesses wait (post-copy, the
/// write governor), registered when it is needed. The latter must see the kernel's own accesses on
/// QEMU's behalf too (its system calls, KVM's), for which a privilege is needed.
namespace drover {

/// The library does more than this: the kernel kills QEMU when Drover's end of the socket closes,
/// so that no guest runs on that nobody answers for; Drover may trace QEMU where only a descendant
/// could (Yama); and at a signal QEMU ends with the exit code 1.

/// The environment variables that the library reads (and removes).
inline constexpr const char* tracker_socket_variable = "DROVER_TRACKER_SOCKET"; ///< descriptor
inline constexpr const char* tracker_files_variable = "DROVER_TRACKER_FILES"; ///< "DEV:INO,…", hex

inline constexpr const char* companion_variable = "DROVER_COMPANION"; ///< Drover's process

/// A socket's descriptor. A QEMU that ends by itself writes a byte to it, and waits, for at most a
/// second, until Drover has copied all that it said and writes one back.
inline constexpr const char* farewell_variable = "DROVER_FAREWELL";

/// At this signal QEMU ends at once, with the exit code 1. Neither QEMU nor its libraries use it;
/// one that has not loaded ours ends by it.
[[nodiscard]] inline int end_as_failed_signal()
{
    return SIGRTMAX - 5;
}

/// What is sent first, and of no mapping: `address` is the process in which the library is, and
/// everything else 0. Then one for each mapping. Both ends are of the same build. QEMU is not
/// trusted all the same (its guest may have taken it over): receive_mappings checks everything.
struct MappingMessage {
    uint64_t device = 0;       ///< st_dev of the mapped file
    uint64_t inode = 0;        ///< st_ino
    uint64_t offset = 0;       ///< in the file, bytes
    uint64_t address = 0;      ///< in QEMU
    uint64_t length = 0;       ///< bytes; 0: no mapping
    int32_t error = 0;         ///< errno of the tracking userfaultfd; then it is not attached
    int32_t holding_error = 0; ///< errno of the holding one; then it is not attached
};

struct TrackedMapping {
    MappingMessage where;
    UniqueFd userfaultfd; ///< none where the kernel has no asynchronous write protection
    UniqueFd holding;     ///< none where we may not hold the kernel's accesses
};

/// Whether the process `qemu` has loaded the library, and is watched by it: without that nothing
/// ends it with us. Asked once, before receive_mappings().
[[nodiscard]] Status check_library(int socket, pid_t qemu);

/// Takes all messages that have arrived on the (non-blocking) socket.
[[nodiscard]] Result<std::vector<TrackedMapping>> receive_mappings(int socket);

/// The path of libdrover-tracker.so: beside this program, or in ../lib/drover.
[[nodiscard]] Result<std::string> find_tracker_library();

} // namespace drover
