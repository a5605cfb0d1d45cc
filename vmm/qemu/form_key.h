// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace drover::qemu {

/// All that the form of a machine follows from, as one text: the programs and libraries that its
/// QEMU has loaded (which file, how large, since when), the kernel, the command line of the QEMU
/// that would be asked for the form (blank_line.h), and what the running QEMU has told of itself:
/// the sizes of its firmware and ROMs, its devices, its CPU's features.
/// Fails where that QEMU is not the program that would be started: a wrapper, or one that was
/// upgraded since.
[[nodiscard]] Result<std::string> form_key(const std::vector<std::string>& blank_command,
                                           pid_t qemu, const Json& description);

// Its part, for tests.

/// The files of which a process executes code, by its /proc/PID/maps, each once. Fails if one of
/// them has been replaced since.
[[nodiscard]] Result<std::vector<std::string>> program_files(const std::string& maps);

} // namespace drover::qemu
