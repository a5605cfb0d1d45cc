// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <functional>
#include <glib.h>
#include <utility>

/// Thin RAII over GLib's main loop. The thread that runs the default main context is "the loop
/// thread"; it owns the VM, its QMP connections and both session state machines.
namespace drover::loop {

/// A source of the default main context; destroying it removes it. Loop thread only.
class Source {
public:
    Source() = default;
    explicit Source(guint id) : id_(id) {}
    Source(Source&& other) noexcept : id_(std::exchange(other.id_, 0)) {}
    Source& operator=(Source&& other) noexcept;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    ~Source() { reset(); }

    void reset();
    [[nodiscard]] explicit operator bool() const { return id_ != 0; }

private:
    guint id_ = 0;
};

/// Runs `callback` on the loop thread, soon. From any thread.
void post(std::function<void()> callback);

/// Calls `callback` while `fd` fulfils `condition` (G_IO_IN, G_IO_OUT, G_IO_HUP, ...).
/// The callback may destroy its own Source. Errors and hang-up are always reported.
[[nodiscard]] Source watch(int fd, GIOCondition condition,
                           std::function<void(GIOCondition)> callback);

/// Calls `callback` once after `delay`, or every `period`. The callback may destroy its own Source.
[[nodiscard]] Source after(std::chrono::milliseconds delay, std::function<void()> callback);
[[nodiscard]] Source every(std::chrono::milliseconds period, std::function<void()> callback);

} // namespace drover::loop
