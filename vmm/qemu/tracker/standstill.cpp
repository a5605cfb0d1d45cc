// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/standstill.h"

#include "util/fd.h"

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <optional>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover {

namespace {

/// waitid() knows no limit in time: a thread of its own waits. One that was given up for too slow
/// ends when the process stops the next time, or dies.
class Waiter {
public:
    explicit Waiter(UniqueFd pidfd) : shared_(std::make_shared<Shared>())
    {
        shared_->pidfd = std::move(pidfd);
        std::thread([shared = shared_] { wait(*shared); }).detach();
    }

    /// siginfo's si_code or a negative errno; nothing if it took too long.
    std::optional<int> wait_for(std::chrono::milliseconds limit)
    {
        std::unique_lock lock(shared_->mutex);
        shared_->changed.wait_for(lock, limit, [this] { return shared_->code.has_value(); });
        return shared_->code;
    }

private:
    struct Shared {
        UniqueFd pidfd;
        std::mutex mutex;
        std::condition_variable changed;
        std::optional<int> code; // guarded by mutex
    };

    static void wait(Shared& shared)
    {
        siginfo_t info{};
        int result;
        // WEXITED so that a QEMU that dies here does not keep us waiting; WNOWAIT leaves its exit
        // status to whoever watches the process.
        do {
            result = waitid(P_PIDFD, static_cast<id_t>(shared.pidfd.get()), &info,
                            WSTOPPED | WEXITED | WNOWAIT);
        } while (result < 0 && errno == EINTR);
        const int code = result < 0 ? -errno : info.si_code;
        const std::lock_guard lock(shared.mutex);
        shared.code = code;
        shared.changed.notify_all();
    }

    std::shared_ptr<Shared> shared_;
};

} // namespace

void Standstill::go_on()
{
    if (std::exchange(stopped_, false))
        pidfd_send_signal(pidfd_, SIGCONT, nullptr, 0);
}

Result<bool> Standstill::begin()
{
    UniqueFd pidfd(fcntl(pidfd_, F_DUPFD_CLOEXEC, 0));
    if (!pidfd)
        return fail_errno("copying a descriptor", errno);
    Waiter waiter(std::move(pidfd));
    if (pidfd_send_signal(pidfd_, SIGSTOP, nullptr, 0) < 0)
        return fail_errno("stopping QEMU for a look at its written pages", errno);
    stopped_ = true;
    const std::optional<int> code = waiter.wait_for(limit);
    if (!code) {
        go_on();
        return false;
    }
    if (*code < 0)
        return fail_errno("waiting for QEMU to stop", -*code);
    if (*code != CLD_STOPPED)
        return fail(ErrorKind::Machine, "QEMU died while its written pages were collected");
    return true;
}

} // namespace drover
