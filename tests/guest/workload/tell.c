// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

/// A guest without a network says on its console what others say in their heartbeats.
/// drover_e2e/tale.py reads it.
static void* tell_on(void* argument)
{
    (void)argument;
    uint64_t deadline = now_ns();
    for (uint64_t number = 1;; number++) {
        say("BEAT %llu at %llu ms: %llu pages written, %llu verified, %llu wrong",
            (unsigned long long)number, (unsigned long long)(now_ns() / 1000000),
            (unsigned long long)atomic_load(&counters.pages_written),
            (unsigned long long)atomic_load(&counters.pages_verified),
            (unsigned long long)atomic_load(&counters.memory_errors));
        deadline += options.tell * 1000000ull;
        uint64_t now = now_ns();
        if (now > deadline)
            deadline = now; // as with heartbeats: what a pause made it miss is not made up for
        sleep_until(deadline);
    }
    return NULL;
}

void tell_start(void)
{
    start_thread(tell_on, NULL);
}
