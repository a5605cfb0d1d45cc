// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/exit_status.h"

#include "util/fd.h"

#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <sys/ioctl.h>
#include <sys/wait.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover::qemu {

namespace {

/// Linux's struct pidfd_info, of which Debian 12's headers know nothing: its first 64 bytes.
struct PidfdInfo {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code; ///< as wait(2) has it
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t info_exit = 1 << 3;
constexpr unsigned long get_info = _IOWR(0xff, 11, PidfdInfo);

ExitStatus decoded(int status)
{
    return WIFSIGNALED(status) ? ExitStatus{0, WTERMSIG(status)}
                               : ExitStatus{WEXITSTATUS(status), 0};
}

/// The last field of a zombie's /proc/PID/stat (proc(5)).
std::optional<int> status_of_zombie(pid_t pid)
{
    const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
    if (!text)
        return std::nullopt;
    const size_t state = text->rfind(')'); // the name before it may hold anything
    const size_t last = text->rfind(' ');
    if (state == std::string::npos || state + 2 >= text->size() || text->at(state + 2) != 'Z')
        return std::nullopt;
    int status = 0;
    const char* end = text->data() + text->size();
    if (std::from_chars(text->data() + last + 1, end, status).ec != std::errc())
        return std::nullopt;
    return status;
}

} // namespace

std::string ExitStatus::text() const
{
    if (signal == 0)
        return "exited with code " + std::to_string(code);
    const char* name = sigabbrev_np(signal);
    return "was killed by " +
           (name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal));
}

std::optional<ExitStatus> exit_status_of(pid_t pid, int pidfd)
{
    const auto status = status_of_zombie(pid);
    // One that was reaped before this line may have left its number to another.
    if (status && pidfd_send_signal(pidfd, 0, nullptr, 0) == 0)
        return decoded(*status);
    PidfdInfo info{};
    info.mask = info_exit;
    if (ioctl(pidfd, get_info, &info) == 0 && (info.mask & info_exit) != 0)
        return decoded(info.exit_code);
    return std::nullopt;
}

} // namespace drover::qemu
