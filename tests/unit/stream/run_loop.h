// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/loop.h"

#include <functional>

namespace drover {

/// Turns the main loop until `done`; false if that takes more than ten seconds.
inline bool run_until(const std::function<bool()>& done)
{
    bool late = false;
    const auto guard = loop::after(std::chrono::seconds(10), [&] { late = true; });
    while (!done() && !late)
        g_main_context_iteration(nullptr, TRUE);
    return done();
}

/// Does all that is ready now.
inline void run_ready()
{
    while (g_main_context_iteration(nullptr, FALSE)) {
    }
}

} // namespace drover
