// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/standstill.h"

#include <cerrno>
#include <csignal>
#include <sys/wait.h>

namespace drover {

Standstill::~Standstill()
{
    if (stopped_)
        kill(pid_, SIGCONT);
}

Status Standstill::begin()
{
    if (kill(pid_, SIGSTOP) < 0)
        return fail_errno("stopping QEMU for a look at its written pages", errno);
    stopped_ = true;
    siginfo_t info{};
    int result;
    // WEXITED so that a QEMU that dies here does not keep us waiting; WNOWAIT leaves its exit
    // status to whoever watches the process.
    do {
        result = waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT);
    } while (result < 0 && errno == EINTR);
    if (result < 0)
        return fail_errno("waiting for QEMU to stop", errno);
    if (info.si_code != CLD_STOPPED)
        return fail(ErrorKind::Machine, "QEMU died while its written pages were collected");
    return {};
}

} // namespace drover
