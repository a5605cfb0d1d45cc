// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/clock.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace drover {

/// The arithmetic of a token bucket, with the time passed in. Not thread-safe.
///
/// Who takes more than there is goes into debt, and the next one waits until it is paid: so frames
/// of any size pass, and the rate holds over time.
class TokenBucket {
public:
    /// Bytes per second, 0: unlimited. A debt made at a higher rate costs no more time than it
    /// would have; one made at a lower rate is paid at the new one.
    void set_rate(uint64_t bytes_per_second, TimePoint now);

    /// How long to wait until bytes may be sent; zero: now.
    [[nodiscard]] Duration wait_time(TimePoint now);

    /// Takes bytes, whatever is left. Call when wait_time() is zero.
    void take(uint64_t bytes);

private:
    void refill(TimePoint now);
    [[nodiscard]] double capacity() const;

    double rate_ = 0;   // bytes/s
    double tokens_ = 0; // bytes, negative: debt
    TimePoint filled_{};
};

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
    TokenBucket bucket_;   // guarded by mutex_
    bool stopped_ = false; // guarded by mutex_
};

} // namespace drover
