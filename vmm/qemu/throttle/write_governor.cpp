// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/write_governor.h"

#include "util/defect.h"
#include "vmm/qemu/throttle/write_answering.h"

#include <algorithm>
#include <cerrno>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace drover::qemu {

namespace {

/// Of what is permitted, this part may be spent by standing still while RAM is handed over.
constexpr double still_part = 0.5;
constexpr double least_still_part = 0.01;

} // namespace

WriteGovernor::WriteGovernor(pid_t process, HoldingTracker& tracker,
                             std::span<const BlockMapping> blocks, std::vector<pid_t> vcpus,
                             std::function<void(Error)> gave_up)
    : process_(process), tracker_(tracker), blocks_(blocks), vcpus_(std::move(vcpus)),
      gave_up_(std::move(gave_up))
{
}

Result<std::unique_ptr<WriteGovernor>> WriteGovernor::create(pid_t process, HoldingTracker& tracker,
                                                             std::span<const BlockMapping> blocks,
                                                             std::vector<pid_t> vcpus,
                                                             std::function<void(Error)> gave_up)
{
    if (vcpus.empty())
        return fail(ErrorKind::Machine, "QEMU named no vCPU threads");
    if (Status can = tracker.can_hold(); !can)
        return pass(can);
    std::unique_ptr<WriteGovernor> governor(
        new WriteGovernor(process, tracker, blocks, std::move(vcpus), std::move(gave_up)));
    governor->wakeup_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!governor->wakeup_)
        return fail_errno("eventfd", errno);
    return governor;
}

void WriteGovernor::start_threads()
{
    answering_ = std::thread([this] {
        prctl(PR_SET_NAME, "write-governor");
        prctl(PR_SET_TIMERSLACK, 1UL); // the usual 50 µs are half of a wait at 10,000 pages/s
        defects::contain([this] { Answering(*this).run(); });
    });
    changing_ = std::thread([this] {
        prctl(PR_SET_NAME, "governor-switch");
        defects::contain([this] { change_pieces(); });
    });
}

WriteGovernor::~WriteGovernor()
{
    limit({}, {});
    {
        const std::lock_guard lock(lock_);
        quit_ = true;
    }
    changed_.notify_all();
    if (changing_.joinable())
        changing_.join(); // the other one must still answer
    limit({}, {});
    if (answering_.joinable())
        answering_.join();
}

void WriteGovernor::limit(std::optional<GovernorLimits> limits, std::optional<bool> hold)
{
    {
        const std::lock_guard lock(lock_);
        // Where nobody was governed, the tracker may have been stopped meanwhile.
        if (hold && (*hold != hold_ || !limits_))
            settled_ = false;
        hold_ = hold.value_or(hold_);
        limits_ = limits;
    }
    changed_.notify_all();
    const uint64_t once = 1;
    (void)!write(wakeup_.get(), &once, sizeof once);
}

void WriteGovernor::govern(const GovernorLimits& limits)
{
    if (!answering_.joinable())
        start_threads();
    limit(limits, true);
}

void WriteGovernor::release()
{
    limit({}, {});
}

void WriteGovernor::end()
{
    if (answering_.joinable())
        limit({}, false);
}

void WriteGovernor::give_up(Error why)
{
    limit({}, {});
    gave_up_(std::move(why));
}

void WriteGovernor::settle()
{
    std::unique_lock lock(lock_);
    changed_.wait(lock, [this] { return settled_; });
}

/// The thread that hands over RAM. Between two pieces the guest runs for long enough.
void WriteGovernor::change_pieces()
{
    std::unique_lock lock(lock_);
    double part = least_still_part;
    while (!quit_) {
        if (settled_) {
            changed_.wait(lock);
            continue;
        }
        const bool hold = hold_;
        if (limits_)
            part = std::max(limits_->most * still_part, least_still_part);
        lock.unlock();
        const auto still_s = tracker_.hold_next(hold);
        lock.lock();
        if (!still_s || *still_s == 0) {
            settled_ = hold == hold_;
            changed_.notify_all();
        }
        if (!still_s) {
            hold_ = false;
            lock.unlock();
            give_up(still_s.error());
            lock.lock();
            continue;
        }
        stood_still_s_ += *still_s;
        stats_.still_s.store(stats_.still_s + *still_s);
        stats_.longest_still_s.store(std::max(stats_.longest_still_s.load(), *still_s));
        changed_.wait_for(lock, Duration(*still_s * (1 / part - 1)), [this] { return quit_; });
    }
}

} // namespace drover::qemu
