// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/guest_brake.h"

#include "util/log.h"
#include "util/loop.h"
#include "vmm/qemu/throttle/cpu_time.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

namespace drover::qemu {

namespace {

constexpr std::string_view by_governor = "write-governor";
constexpr std::string_view by_share = "vcpu-share";

std::unexpected<Error> not_wanted(const std::string& wanted)
{
    return fail(ErrorKind::Refused, "DROVER_SLOWDOWN asks for " + wanted);
}

} // namespace

Result<std::unique_ptr<GuestBrake>> GuestBrake::create(Guest guest)
{
    const char* variable = getenv("DROVER_SLOWDOWN");
    const std::string wanted = variable ? variable : "";
    if (!wanted.empty() && wanted != by_governor && wanted != by_share)
        return fail(ErrorKind::Invalid, "DROVER_SLOWDOWN names no way to slow a guest: " + wanted,
                    "it may be write-governor or vcpu-share");
    std::unique_ptr<GuestBrake> brake(new GuestBrake(std::move(guest)));
    if (wanted == by_share)
        brake->governor_works_ = not_wanted(wanted);
    else
        brake->choose_governor();
    if (wanted == by_governor) {
        brake->throttle_works_ = not_wanted(wanted);
    } else {
        auto throttle = VcpuThrottle::create(brake->guest_.process, brake->guest_.vcpus);
        if (throttle)
            brake->throttle_ = std::move(*throttle);
        else
            brake->throttle_works_ = pass(throttle);
    }
    brake->observe();
    if (brake->governor_ || brake->throttle_)
        return brake;
    return fail(ErrorKind::System, "write governor: " + brake->governor_works_.error().text() +
                                       "; vCPU share: " + brake->throttle_works_.error().text());
}

GuestBrake::~GuestBrake()
{
    *alive_ = false;
}

void GuestBrake::choose_governor()
{
    auto* tracker = dynamic_cast<HoldingTracker*>(guest_.tracker);
    if (!tracker) {
        governor_works_ =
            fail(ErrorKind::System, "it needs the dirty tracker pagemap-scan", "Linux 6.7 has it");
        return;
    }
    auto governor = WriteGovernor::create(guest_.process, *tracker, guest_.blocks, guest_.vcpus,
                                          [this, alive = alive_](Error why) {
                                              loop::post([this, alive, why = std::move(why)] {
                                                  if (*alive)
                                                      governor_gave_up(why);
                                              });
                                          });
    if (governor)
        governor_ = std::move(*governor);
    else
        governor_works_ = pass(governor);
}

void GuestBrake::observe()
{
    if (throttle_)
        throttle_->observe();
    if (!way_.empty())
        return;
    observed_ = Clock::now();
    ran_s_ = ran_s(guest_.process, guest_.vcpus);
}

/// The end of the observation. One that was too short to tell takes the guest for busy, which errs
/// to the mild side.
void GuestBrake::conclude()
{
    if (throttle_)
        throttle_->conclude();
    const double seconds = seconds_since(observed_) * static_cast<double>(guest_.vcpus.size());
    busy_ = seconds_since(observed_) < telling_cpu_s
                ? 1
                : std::clamp((ran_s(guest_.process, guest_.vcpus) - ran_s_) / seconds, 0.0, 1.0);
}

Status GuestBrake::slow_down(const SlowDown& wish)
{
    if (wish.part <= 0) {
        release(false);
        return {};
    }
    wish_ = wish;
    if (way_.empty())
        conclude();
    if (!governor_ || !governor_works_ || wish.writes_s <= 0)
        return share(wish.part);
    if (way_ != by_governor)
        log::info("the guest is slowed by the write governor: " +
                  std::to_string(std::lround(wish.writes_s)) + " first writes to pages a second");
    // What vCPUs did not use may be spent by waiting before that slows them: as with a share of the
    // processor, the bound is a part of what they used.
    governor_->govern({wish.writes_s, 1 - busy_ * (1 - wish.most)});
    way_ = by_governor;
    return {};
}

Status GuestBrake::share(double part)
{
    if (!throttle_) {
        release(false);
        return throttle_works_;
    }
    if (part == shared_)
        return {};
    if (Status slowed = throttle_->slow_down(part); !slowed) {
        throttle_works_ = slowed;
        throttle_.reset();
        release(false);
        return slowed;
    }
    if (way_ != by_share)
        log::info("the guest is slowed by its vCPUs' share of the processor");
    shared_ = part;
    way_ = by_share;
    return {};
}

/// Its reason may be gone when the guest is slowed the next time.
void GuestBrake::governor_gave_up(const Error& why)
{
    if (way_ != by_governor)
        return;
    log::warning("the write governor gave up: " + why.text());
    governor_works_ = std::unexpected(why);
    governor_->end();
    way_ = {};
    if (Status slowed = share(wish_.part); !slowed)
        log::warning("the guest runs at full speed: " + slowed.error().text());
}

void GuestBrake::release(bool paused)
{
    wish_ = {};
    const bool slowed = !std::exchange(way_, {}).empty();
    if (throttle_ && std::exchange(shared_, 0) > 0)
        (void)throttle_->slow_down(0);
    if (governor_ && paused)
        governor_->release();
    else if (governor_)
        governor_->end();
    if (governor_)
        governor_works_ = {};
    if (slowed)
        observe();
}

} // namespace drover::qemu
