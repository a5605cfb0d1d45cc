// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/process_handle.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <string>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover {

Result<ProcessHandle> ProcessHandle::open(pid_t pid)
{
    UniqueFd pidfd(pidfd_open(pid, 0));
    if (!pidfd)
        return fail_errno("finding the process of QEMU (" + std::to_string(pid) + ")", errno);
    return ProcessHandle(pid, std::move(pidfd));
}

bool ProcessHandle::has_ended() const
{
    pollfd ended{pidfd_.get(), POLLIN, 0};
    return poll(&ended, 1, 0) > 0;
}

Result<UniqueFd> ProcessHandle::open_file(const char* name, int flags) const
{
    const std::string path = "/proc/" + std::to_string(pid_) + "/" + name;
    UniqueFd file(::open(path.c_str(), flags | O_CLOEXEC));
    if (!file)
        return fail_errno("opening " + path, errno);
    // Ours was not reaped until now, so the number was its own when the file was opened.
    if (pidfd_send_signal(pidfd_.get(), 0, nullptr, 0) < 0)
        return fail_errno("opening " + path + " of a process that has ended", errno);
    return file;
}

} // namespace drover
