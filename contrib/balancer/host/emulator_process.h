// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/loop.h"
#include "util/result.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace drover::balancer {

/// A process, for good: numbers are used again, but not together with the time of the start.
struct ProcessId {
    pid_t pid = -1;
    uint64_t start_time = 0; ///< clock ticks since boot: field 22 of /proc/PID/stat (proc(5))

    friend bool operator==(const ProcessId&, const ProcessId&) = default;
};

/// Nothing if there is no such process (any more).
[[nodiscard]] std::optional<ProcessId> process_id(pid_t pid);

/// A process that need not be our child. Loop thread only.
class ProcessWatch {
public:
    /// `ended` is called once, from the loop; at once if the process has gone already.
    ProcessWatch(ProcessId process, std::function<void()> ended);

private:
    UniqueFd pidfd_;
    loop::Source source_;
    std::function<void()> ended_;
};

struct EmulatorStart {
    std::vector<std::string> words;       ///< the program (by its path) and its arguments
    std::string log;                      ///< stderr is appended to it
    int listener = -1;                    ///< inherited under the same number
    std::string directory;                ///< where it runs
    std::vector<std::string> environment; ///< NAME=VALUE, beside ours
    std::vector<std::string> cgroups;     ///< cgroup.procs files that it is to be written to
};

/// Starts an emulator that outlives us: in a session of its own, with its words in a file.
[[nodiscard]] Result<ProcessId> start_emulator(const EmulatorStart& start);

/// Sends SIGTERM or SIGKILL, if it is still that process.
void end_process(ProcessId process, int signal);

/// The last two lines of what it said, as one, for an error's text; at most 500 bytes.
[[nodiscard]] std::string last_words(const std::string& log);

} // namespace drover::balancer
