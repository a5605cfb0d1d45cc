// SPDX-License-Identifier: GPL-2.0-or-later
//
// Preloaded into a program under test: moves its clocks by the seconds (two doubles: the wall
// clock's, the monotonic one's) in the file that DROVER_TEST_CLOCK names, which may change at any
// time. The kernel's clocks stay: what waits until a clock's time (QEMU's semaphores do) would wait
// for a day. So what the program starts keeps the true time.
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile double* offsets;

static double offset_of(clockid_t clock)
{
    switch (offsets ? clock : CLOCK_PROCESS_CPUTIME_ID) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE: return offsets[0];
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE: return offsets[1];
    default: return 0;
    }
}

__attribute__((constructor)) static void map_offset(void)
{
    const char* name = getenv("DROVER_TEST_CLOCK");
    const int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    const void* mapped = mmap(NULL, 2 * sizeof(*offsets), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        offsets = mapped;
    unsetenv("LD_PRELOAD");
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec* now)
{
    const int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0)
        now->tv_sec += (time_t)floor(offset_of(clock));
    return result;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval* restrict now,
                                                        void* restrict zone)
{
    (void)zone;
    struct timespec exact;
    const int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

__attribute__((visibility("default"))) time_t time(time_t* now)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}
