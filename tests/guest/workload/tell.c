// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <stdio.h>
#include <string.h>

// A guest without a network says on its console what others say in their heartbeats.
// drover_e2e/tale.py and watch.py read it.

/// What the kernel reads the time from: it takes another one if it no longer trusts that.
static void read_clock_source(char source[32])
{
    FILE* file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
    if (!file || fscanf(file, "%31s", source) != 1)
        strcpy(source, "nothing");
    if (file)
        fclose(file);
}

static void tell_watched(uint64_t number)
{
    char source[32];
    read_clock_source(source);
    const struct lateness late = watch_take();
    // Short: each character of a console costs an emulated host a look at a device.
    say("WATCH %llu: %llu %s %u %u %u %u %u %llu %u %llu %u", (unsigned long long)number,
        (unsigned long long)(now_ns() / 1000), source, (unsigned)atomic_load(&counters.clock_back),
        late.sleeps, (unsigned)atomic_load(&counters.sleeps_early), late.median_us, late.worst_us,
        (unsigned long long)atomic_load(&counters.registers_held),
        (unsigned)atomic_load(&counters.registers_wrong),
        (unsigned long long)atomic_exchange(&counters.clock_apart_us, 0),
        (unsigned)atomic_load(&counters.clock_turns));
}

static void* tell_on(void* argument)
{
    (void)argument;
    uint64_t deadline = now_ns();
    for (uint64_t number = 1;; number++) {
        if (options.watch)
            tell_watched(number); // first: its time is compared with that when it arrives
        say("BEAT %llu at %llu ms: %llu pages written, %llu verified, %llu wrong",
            (unsigned long long)number, (unsigned long long)(now_ns() / 1000000),
            (unsigned long long)atomic_load(&counters.pages_written),
            (unsigned long long)atomic_load(&counters.pages_verified),
            (unsigned long long)atomic_load(&counters.memory_errors));
        if (options.entropy)
            say("ENTROPY %llu bytes", (unsigned long long)atomic_load(&counters.entropy_bytes));
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
