// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "migration/policy/statistics.h"
#include "migration/session/page_sample.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace drover {

/// Watches a running guest for a moment before a migration is thought about: how many pages hold
/// data, what a sample of them holds, and how many are written within windows of 0.02 to
/// 0.8 s. The guest runs on; the
/// first write to each page costs it a microsecond or two.
///
/// Loop thread. Destroying it ends the watching at once; `done` is not called then.
class GuestWatch {
public:
    /// `machine` must outlive this, and no migration may use its tracker meanwhile.
    GuestWatch(Machine& machine, std::function<void(Result<MigrationStats>)> done);
    ~GuestWatch();
    GuestWatch(const GuestWatch&) = delete;
    GuestWatch& operator=(const GuestWatch&) = delete;

private:
    void run();
    [[nodiscard]] Result<MigrationStats> measure();
    [[nodiscard]] Result<std::vector<PageBitmap>> collect();
    [[nodiscard]] Status watch_windows(MigrationStats& stats, PageSample& sample);
    /// False if it was told to stop.
    [[nodiscard]] bool wait(double seconds);

    std::span<const RamBlock> ram_;
    DirtyTracker* tracker_ = nullptr;
    std::function<void(Result<MigrationStats>)> done_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stop_ = false; // guarded by mutex_
    std::thread thread_;
};

} // namespace drover
