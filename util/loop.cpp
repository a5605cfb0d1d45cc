// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/loop.h"

#include "util/defect.h"

#include <atomic>
#include <glib-unix.h>
#include <memory>

namespace drover::loop {

Source& Source::operator=(Source&& other) noexcept
{
    if (this != &other) {
        reset();
        id_ = std::exchange(other.id_, 0);
    }
    return *this;
}

void Source::reset()
{
    if (id_ == 0)
        return;
    // A one-shot source may be gone already: finding it first avoids GLib's warning.
    if (GSource* source = g_main_context_find_source_by_id(nullptr, id_))
        g_source_destroy(source);
    id_ = 0;
}

namespace {

using Callback = std::function<void()>;
using FdCallback = std::function<void(GIOCondition)>;

template <typename F> void delete_callback(gpointer data)
{
    delete static_cast<F*>(data);
}

/// GLib hands a callback from thread to thread under locks that ThreadSanitizer cannot see; these
/// two say the same in words that it understands.
std::atomic<unsigned> g_posts{0};

gboolean run_posted(gpointer data)
{
    (void)g_posts.load(std::memory_order_acquire);
    defects::contain(*static_cast<Callback*>(data));
    return G_SOURCE_REMOVE;
}

gboolean run_once(gpointer data)
{
    defects::contain(*static_cast<Callback*>(data));
    return G_SOURCE_REMOVE;
}

gboolean run_again(gpointer data)
{
    defects::contain(*static_cast<Callback*>(data));
    return G_SOURCE_CONTINUE;
}

gboolean run_fd(gint, GIOCondition condition, gpointer data)
{
    defects::contain([&] { (*static_cast<FdCallback*>(data))(condition); });
    return G_SOURCE_CONTINUE;
}

} // namespace

// GLib keeps the callback's data alive while the callback runs, even if the source is destroyed
// meanwhile, so a callback may reset its own Source.

void post(std::function<void()> callback)
{
    auto* posted = new Callback(std::move(callback));
    g_posts.fetch_add(1, std::memory_order_acq_rel);
    g_idle_add_full(G_PRIORITY_DEFAULT, run_posted, posted, delete_callback<Callback>);
}

Source watch(int fd, GIOCondition condition, std::function<void(GIOCondition)> callback)
{
    return Source(g_unix_fd_add_full(G_PRIORITY_DEFAULT, fd, condition, run_fd,
                                     new FdCallback(std::move(callback)),
                                     delete_callback<FdCallback>));
}

Source after(std::chrono::milliseconds delay, std::function<void()> callback)
{
    return Source(g_timeout_add_full(G_PRIORITY_DEFAULT, static_cast<guint>(delay.count()),
                                     run_once, new Callback(std::move(callback)),
                                     delete_callback<Callback>));
}

Source every(std::chrono::milliseconds period, std::function<void()> callback)
{
    return Source(g_timeout_add_full(G_PRIORITY_DEFAULT, static_cast<guint>(period.count()),
                                     run_again, new Callback(std::move(callback)),
                                     delete_callback<Callback>));
}

} // namespace drover::loop
