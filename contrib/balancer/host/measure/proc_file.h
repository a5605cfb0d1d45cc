// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::balancer::measure {

/// What the last read brought. One for all files of a thread: no allocation at each read.
using ReadBuffer = std::vector<char>;

/// A file of /proc, /sys or a cgroup: the kernel makes its text anew at each reading from its
/// beginning, so that it is opened once. One thread at a time.
class ProcFile {
public:
    ProcFile() = default;

    /// Opened at the first read, and again after a failed one.
    explicit ProcFile(std::string path) : path_(std::move(path)) {}

    /// `name` in the directory `dir` of a process, whose files come in one piece. Never opened
    /// again: of a process that has gone, nothing is read of the next one with its number.
    ProcFile(int dir, const char* name);

    /// The text as it is now, until the next read with the same buffer. Nothing if there is no such
    /// file, it cannot be read, or it is longer than 4 MiB.
    [[nodiscard]] std::optional<std::string_view> read(ReadBuffer& buffer);

private:
    std::string path_;
    UniqueFd fd_;
    bool one_piece_ = false; // else, as for lists, a short read is not the end
};

/// The numbers in a directory's names (processes in /proc, threads in /proc/PID/task), ascending.
/// `dir` is relative to `at`, which may be AT_FDCWD. Empty if it cannot be read.
[[nodiscard]] std::vector<int> numbered_entries(int at, const char* dir);

} // namespace drover::balancer::measure
