// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/write_answering.h"

#include "migration/ram/ram_block.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <linux/userfaultfd.h>
#include <string>
#include <unistd.h>
#include <utility>

namespace drover::qemu {

namespace {

/// The guest is paused by a vCPU's leaving it: so long that may take longer.
constexpr double longest_wait_s = 0.010;

} // namespace

WriteGovernor::Answering::Answering(WriteGovernor& governor)
    : governor_(governor), budget_(static_cast<unsigned>(governor.vcpus_.size())),
      reckoned_(Clock::now())
{
    for (const BlockMapping& block : governor_.blocks_)
        watched_.push_back({block.holding.get(), POLLIN, 0});
    watched_.push_back({governor_.wakeup_.get(), POLLIN, 0});
}

void WriteGovernor::Answering::run()
{
    while (heed()) {
        reckon(); // with those who waited until now
        for (size_t block = 0; block < governor_.blocks_.size(); ++block)
            read_faults(block);
        answer_due();
        if (governed_ && budget_.overdrawn())
            overdraw();
        sleep_until_due();
    }
}

bool WriteGovernor::Answering::heed()
{
    uint64_t times = 0;
    (void)!read(governor_.wakeup_.get(), &times, sizeof times);
    const std::lock_guard lock(governor_.lock_);
    governed_ = governor_.limits_.has_value();
    if (governed_)
        budget_.set(*governor_.limits_);
    budget_.charge_standstill(std::exchange(governor_.stood_still_s_, 0));
    return !governor_.quit_;
}

void WriteGovernor::Answering::read_faults(size_t block)
{
    std::array<uffd_msg, 64> messages;
    for (;;) {
        const ssize_t n =
            read(governor_.blocks_[block].holding.get(), messages.data(), sizeof messages);
        if (n <= 0)
            return; // none is left, or the process is dead
        for (size_t i = 0; i < static_cast<size_t>(n) / sizeof(uffd_msg); ++i)
            if (messages[i].event == UFFD_EVENT_PAGEFAULT)
                take(block, messages[i].arg.pagefault.address,
                     static_cast<pid_t>(messages[i].arg.pagefault.feat.ptid));
    }
}

void WriteGovernor::Answering::take(size_t block, uint64_t address, pid_t thread)
{
    address = address / ram_page_size * ram_page_size;
    const bool vcpu = std::ranges::find(governor_.vcpus_, thread) != governor_.vcpus_.end();
    if (!vcpu && is_qemus(thread)) {
        ++governor_.stats_.let;
        (void)governor_.tracker_.let_write(block, address);
        return;
    }
    // A signal may have taken the thread out of its wait: then it comes back with the same.
    const auto known = std::ranges::find(faults_, thread, &Fault::thread);
    if (vcpu && known != faults_.end()) {
        known->block = block;
        known->address = address;
        return;
    }
    faults_.push_back({block, address, thread, vcpu, Clock::now()});
}

bool WriteGovernor::Answering::is_qemus(pid_t thread) const
{
    const std::string task =
        "/proc/" + std::to_string(governor_.process_) + "/task/" + std::to_string(thread);
    return access(task.c_str(), F_OK) == 0;
}

void WriteGovernor::Answering::reckon()
{
    const TimePoint now = Clock::now();
    const double seconds = Duration(now - reckoned_).count();
    reckoned_ = now;
    budget_.advance(seconds, waiting());
    governor_.stats_.waited_s.store(governor_.stats_.waited_s + seconds * waiting());
}

unsigned WriteGovernor::Answering::waiting() const
{
    return static_cast<unsigned>(std::ranges::count(faults_, true, &Fault::vcpu));
}

void WriteGovernor::Answering::answer_due()
{
    while (!faults_.empty() && is_due(faults_.front()))
        answer(faults_.front());
}

void WriteGovernor::Answering::overdraw()
{
    governed_ = false;
    answer_due();
    governor_.give_up({ErrorKind::Refused,
                       "the guest writes to so many pages that governing its writes would "
                       "slow it by more than is permitted",
                       ""});
}

bool WriteGovernor::Answering::is_due(const Fault& first) const
{
    return !governed_ || budget_.permits_write() || !budget_.permits_waiting() ||
           Duration(reckoned_ - first.since).count() >= longest_wait_s;
}

void WriteGovernor::Answering::answer(const Fault fault)
{
    ++governor_.stats_.governed;
    if (governed_)
        budget_.charge_write();
    // An error means that the process is dead: then nobody waits.
    (void)governor_.tracker_.let_write(fault.block, fault.address);
    std::erase_if(faults_, [&](const Fault& other) {
        return other.block == fault.block && other.address == fault.address;
    });
}

void WriteGovernor::Answering::sleep_until_due()
{
    timespec time{};
    const timespec* limit = nullptr;
    if (!faults_.empty()) {
        const double waited = Duration(reckoned_ - faults_.front().since).count();
        const double seconds = std::max(
            0.0, std::min({budget_.seconds_to_write(), budget_.seconds_of_waiting(waiting()),
                           longest_wait_s - waited}));
        time.tv_nsec = static_cast<long>(std::ceil(seconds * 1e9)); // 10 ms at most
        limit = &time;
    }
    (void)ppoll(watched_.data(), watched_.size(), limit, nullptr);
}

} // namespace drover::qemu
