// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

/// Nobody may see time run back, on whichever CPU; clocks stay as far from each other as they were;
/// a sleep is not shorter than asked for. How much longer it was is told (watch_take()), and how
/// far the TSC and what the kernel reads the time from moved apart.

enum { CLOCKS = 3, LOOKS = 4, WINDOW = 64, PAIR_TRIES = 3 };
static const uint64_t look_ns = 20000000;
static const clockid_t clocks[CLOCKS] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};
static const char* const names[CLOCKS + 1] = {"monotonic", "boottime", "realtime", "TSC"};

/// The latest that anybody has seen; the TSC's is the last.
static atomic_uint_fast64_t latest[CLOCKS + 1];

static uint64_t read_clock(unsigned number)
{
    if (number == CLOCKS) {
        _mm_lfence(); // or it is read before what was seen
        return __rdtsc();
    }
    struct timespec now;
    clock_gettime(clocks[number], &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t look(unsigned number)
{
    uint64_t before = atomic_load(&latest[number]);
    const uint64_t now = read_clock(number);
    if (now < before) {
        if (atomic_fetch_add(&counters.clock_back, 1) < 10)
            say("CORRUPT clock: %s ran back by %llu", names[number],
                (unsigned long long)(before - now));
        return now;
    }
    while (before < now && !atomic_compare_exchange_weak(&latest[number], &before, now)) {
    }
    return now;
}

/// How far a clock is ahead of CLOCK_MONOTONIC: within these bounds, which only come nearer.
struct ahead {
    int64_t least;
    int64_t most;
};

static void compare_clocks(struct ahead ahead[CLOCKS])
{
    for (unsigned i = 1; i < CLOCKS; i++) {
        const int64_t before = (int64_t)look(0);
        const int64_t other = (int64_t)look(i);
        const int64_t after = (int64_t)look(0);
        if (other - after > ahead[i].least)
            ahead[i].least = other - after;
        if (other - before < ahead[i].most)
            ahead[i].most = other - before;
        if (ahead[i].least <= ahead[i].most)
            continue;
        if (atomic_fetch_add(&counters.clock_back, 1) < 10)
            say("CORRUPT clock: %s moved against monotonic by %lld ns", names[i],
                (long long)(ahead[i].least - ahead[i].most));
        ahead[i] = (struct ahead){other - after, other - before};
    }
}

/// Until the next time to look, which is the same on all CPUs. Where the clock is a device that is
/// far away (the ACPI timer on an emulated Xen host: a millisecond and more), looks at it leave the
/// guest most of its time.
static void wait_to_look(uint64_t began_ns)
{
    static const uint64_t share = 20;
    const uint64_t now = now_ns();
    const uint64_t earliest = now + (now > began_ns ? now - began_ns : 0) * share;
    sleep_until((earliest / look_ns + 1) * look_ns);
}

static void* look_on(void* argument)
{
    stay_on_cpu((unsigned)(uintptr_t)argument);
    struct ahead ahead[CLOCKS];
    for (unsigned i = 0; i < CLOCKS; i++)
        ahead[i] = (struct ahead){INT64_MIN, INT64_MAX};
    for (;;) {
        const uint64_t began = now_ns();
        for (unsigned turn = 0; turn < LOOKS; turn++) {
            look(CLOCKS);
            compare_clocks(ahead);
        }
        wait_to_look(began);
    }
    return NULL;
}

/// The ACPI timer (24 bits, 3,579,545 Hz) goes round in so long. A kernel that could not look at it
/// for half of that takes what it reads then for a step back, and its clock misses a whole turn.
static const double turn_us = 4686969.0;

struct pace {
    uint64_t tsc;
    uint64_t ns;
};

/// Both at once, as far as that goes: of some tries that which took the shortest.
static struct pace look_at_pace(void)
{
    struct pace best = {0, 0};
    uint64_t shortest = UINT64_MAX;
    for (unsigned i = 0; i < PAIR_TRIES; i++) {
        const uint64_t before = read_clock(CLOCKS);
        const uint64_t ns = look(0);
        const uint64_t took = read_clock(CLOCKS) - before;
        if (took >= shortest)
            continue;
        shortest = took;
        best = (struct pace){before + took / 2, ns};
    }
    return best;
}

static void note_apart(double us)
{
    if (us > turn_us / 2) {
        const unsigned whole = (unsigned)(us / turn_us + 0.5);
        atomic_fetch_add(&counters.clock_turns, whole);
        us -= whole * turn_us;
    }
    const uint_fast64_t size = (uint_fast64_t)(us < 0 ? -us : us);
    uint_fast64_t most = atomic_load(&counters.clock_apart_us);
    while (most < size && !atomic_compare_exchange_weak(&counters.clock_apart_us, &most, size)) {
    }
}

/// On one CPU, since TSCs of two need not be the same.
static void* pace_on(void* argument)
{
    static const uint64_t learn_ns = 3000000000;
    (void)argument;
    stay_on_cpu(0);
    hurry();
    const struct pace first = look_at_pace();
    sleep_until(first.ns + learn_ns);
    struct pace last = look_at_pace();
    uint64_t began = last.ns;
    const double tsc_per_us = (double)(last.tsc - first.tsc) * 1e3 / (double)(last.ns - first.ns);
    for (;;) {
        wait_to_look(began);
        began = now_ns();
        const struct pace now = look_at_pace();
        note_apart((double)(int64_t)(now.tsc - last.tsc) / tsc_per_us -
                   (double)(now.ns - last.ns) / 1e3);
        last = now;
    }
    return NULL;
}

static pthread_mutex_t window_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t window[WINDOW]; ///< how late sleeps ended, µs
static unsigned in_window;

static void note_late(uint64_t late_ns)
{
    pthread_mutex_lock(&window_lock);
    if (in_window < WINDOW)
        window[in_window++] = (uint32_t)(late_ns / 1000);
    pthread_mutex_unlock(&window_lock);
}

static int by_size(const void* left, const void* right)
{
    const uint32_t a = *(const uint32_t*)left;
    const uint32_t b = *(const uint32_t*)right;
    return (a > b) - (a < b);
}

struct lateness watch_take(void)
{
    uint32_t sorted[WINDOW];
    pthread_mutex_lock(&window_lock);
    const unsigned count = in_window;
    memcpy(sorted, window, sizeof(sorted));
    in_window = 0;
    pthread_mutex_unlock(&window_lock);
    if (count == 0)
        return (struct lateness){0, 0, 0};
    qsort(sorted, count, sizeof(sorted[0]), by_size);
    return (struct lateness){count, sorted[count / 2], sorted[count - 1]};
}

/// Asks for a short and a long one in turn: a timer that runs at another speed than the guest
/// believes shows in the long one.
static void* sleep_on(void* argument)
{
    static const uint64_t asked[] = {5000000, 20000000, 200000000};
    (void)argument;
    hurry();
    for (unsigned turn = 0;; turn++) {
        const uint64_t wanted = asked[turn % (sizeof(asked) / sizeof(asked[0]))];
        const struct timespec pause = {0, (long)wanted};
        const uint64_t before = now_ns();
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        const uint64_t took = now_ns() - before;
        if (took < wanted && atomic_fetch_add(&counters.sleeps_early, 1) < 10)
            say("CORRUPT sleep: %llu of %llu ns", (unsigned long long)took,
                (unsigned long long)wanted);
        note_late(took < wanted ? 0 : took - wanted);
    }
    return NULL;
}

void clocks_start(void)
{
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        start_thread(look_on, (void*)(uintptr_t)cpu);
    start_thread(sleep_on, NULL);
    start_thread(pace_on, NULL);
}
