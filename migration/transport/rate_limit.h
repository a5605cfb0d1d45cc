// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace drover {

/// A token bucket that several sending threads share: QEMU's max-bandwidth. Thread-safe.
class RateLimit {
public:
    /// 0: unlimited. The bucket holds 10 ms worth of bytes (at least 64 KiB), so that a limited
    /// migration never bursts far above its rate. Takes effect at once, for waiters too.
    void set_rate(uint64_t bytes_per_second);

    /// Waits until `bytes` may be sent (they may exceed the bucket: then later callers pay).
    /// False if stop() was called meanwhile.
    [[nodiscard]] bool acquire(uint64_t bytes);

    void stop();  ///< lets all waiters return false
    void start(); ///< undoes stop()

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    double rate_ = 0;   // guarded by mutex_, bytes/s
    double tokens_ = 0; // guarded by mutex_, may be negative
    TimePoint filled_{};
    bool stopped_ = false;
};

} // namespace drover
