// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/guest_watch.h"

#include "migration/session/missing_pages.h"
#include "util/clock.h"
#include "util/defect.h"
#include "util/loop.h"

namespace drover {

namespace {

constexpr double windows_s[] = {0.02, 0.05, 0.1, 0.2, 0.4, 0.8};

} // namespace

GuestWatch::GuestWatch(Machine& machine, std::function<void(Result<MigrationStats>)> done)
    : ram_(machine.ram()), done_(std::move(done))
{
    auto tracker = machine.tracker();
    if (!tracker) {
        loop::post([this, alive = alive_, error = tracker.error()] {
            if (*alive)
                done_(std::unexpected(error));
        });
        return;
    }
    tracker_ = *tracker;
    thread_ = std::thread([this] { run(); });
}

GuestWatch::~GuestWatch()
{
    *alive_ = false;
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable())
        thread_.join();
}

void GuestWatch::run()
{
    Result<MigrationStats> stats;
    const Status measured = defects::guarded([&]() -> Status {
        stats = measure();
        return {};
    });
    if (!measured)
        stats = std::unexpected(measured.error());
    tracker_->stop();
    loop::post([this, alive = alive_, stats = std::move(stats)]() mutable {
        if (*alive)
            done_(std::move(stats));
    });
}

Result<MigrationStats> GuestWatch::measure()
{
    if (Status started = tracker_->start(); !started)
        return pass(started);
    MigrationStats stats;
    std::vector<PageBitmap> data;
    for (const RamBlock& block : ram_) {
        PageBitmap& pages = data.emplace_back(block.pages());
        Status walked = for_each_data(block, 0, block.pages(), [&](uint64_t first, uint64_t count) {
            pages.set_range(first, count);
            stats.pages_total += count;
        });
        if (!walked)
            return pass(walked);
    }
    PageSample sample(ram_);
    if (Status taken = sample.take(data, stats.pages_total); !taken)
        return pass(taken);
    if (Status watched = watch_windows(stats, sample); !watched)
        return pass(watched);
    stats.contents = sample.contents();
    return stats;
}

Status GuestWatch::watch_windows(MigrationStats& stats, PageSample& sample)
{
    if (auto before = collect(); !before)
        return pass(before);
    for (const double seconds : windows_s) {
        const TimePoint start = Clock::now();
        if (!wait(seconds))
            break;
        auto dirty = collect();
        if (!dirty)
            return pass(dirty);
        stats.windows.push_back({seconds_since(start), count_pages(*dirty)});
        if (Status compared = sample.compare(*dirty); !compared)
            return compared;
    }
    return {};
}

Result<std::vector<PageBitmap>> GuestWatch::collect()
{
    std::vector<PageBitmap> dirty;
    for (const RamBlock& block : ram_)
        dirty.emplace_back(block.pages());
    if (Status collected = tracker_->collect_all(dirty); !collected)
        return pass(collected);
    return dirty;
}

bool GuestWatch::wait(double seconds)
{
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                              [this] { return stop_; });
}

} // namespace drover
