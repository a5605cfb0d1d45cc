// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

/// Load as the host wishes it, by lines on a serial port; each is answered by a line. All of it
/// ends after the seconds that "end" gave.
///   cpu PERCENT             keeps every CPU busy for so much of the time
///   net HOST:PORT RATE      sends so many bytes a second there (UDP); rate 0: nothing
///   memory BYTES [RATE]     keeps writing that much memory, over and over; so many bytes a second
///   end SECONDS             so long from now; 0: never
///   status                  "alive SECONDS errors N": the guest runs, and its memory is as it was

enum { period_ns = 20000000, idle_ns = 100000000, datagram = 1400, page = 4096 };

static atomic_uint_fast32_t busy_percent;
static atomic_uint_fast64_t net_rate;
static atomic_uint_fast64_t wanted_memory;
static atomic_uint_fast64_t memory_rate; ///< bytes/s; 0: as fast as it can, with pauses
static char net_target[64];
static atomic_uint_fast64_t end_ns; ///< when all load ends; 0: never

static void* burn(void* argument)
{
    (void)argument;
    for (uint64_t next = now_ns();; next += period_ns) {
        const uint64_t now = now_ns();
        if (now > next + 10 * (uint64_t)period_ns)
            next = now; // it stood still: nothing is made up for
        if (atomic_load(&busy_percent) == 0) {
            sleep_until(now + idle_ns); // an idle guest costs its host next to nothing
            continue;
        }
        const uint64_t busy_until = next + period_ns / 100 * atomic_load(&busy_percent);
        while (now_ns() < busy_until) {
        }
        sleep_until(next + period_ns);
    }
    return NULL;
}

/// Four datagrams at a time, but not more often than each five milliseconds, nor more rarely than
/// an idle guest looks up: to wake costs the host more than to send.
static uint64_t pause_between(uint64_t rate)
{
    const uint64_t pause = rate > 0 ? (uint64_t)4 * datagram * 1000000000 / rate : idle_ns;
    return pause < 5000000 ? 5000000 : pause > idle_ns ? idle_ns : pause;
}

/// Sends what is due; a full queue keeps it waiting, and nothing is made up for.
static void* send_all(void* argument)
{
    (void)argument;
    static const char data[datagram];
    int fd = -1;
    char target[sizeof(net_target)] = "";
    uint64_t due = 0;
    for (uint64_t last = now_ns();;) {
        sleep_until(last + pause_between(atomic_load(&net_rate)));
        const uint64_t now = now_ns();
        const uint64_t rate = atomic_load(&net_rate);
        due += rate * (now - last) / 1000000000;
        last = now;
        if (due > rate / 10)
            due = rate / 10;
        if (rate > 0 && strcmp(target, net_target) != 0) {
            if (fd >= 0)
                close(fd);
            snprintf(target, sizeof(target), "%s", net_target);
            fd = connect_to(target, SOCK_DGRAM);
        }
        for (; fd >= 0 && due >= datagram; due -= datagram)
            if (send(fd, data, sizeof(data), 0) < 0 && errno == EBADF)
                break; // refused or full: the load is what was sent
    }
    return NULL;
}

static void* fill(void* argument)
{
    (void)argument;
    char* memory = NULL;
    uint64_t size = 0;
    for (unsigned char round = 1;; round++) {
        const uint64_t wanted = atomic_load(&wanted_memory);
        if (wanted != size) {
            if (memory)
                munmap(memory, size);
            memory = NULL;
            size = wanted;
            if (size > 0)
                memory =
                    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED)
                give_up("cannot have %" PRIu64 " bytes of memory", size);
        }
        const uint64_t rate = atomic_load(&memory_rate);
        const uint64_t start = now_ns();
        for (uint64_t at = 0; at < size && atomic_load(&wanted_memory) == wanted; at += page) {
            memset(memory + at, round, 64);
            if (rate > 0 && at % (256 * page) == 0)
                sleep_until(start + (uint64_t)((double)at / (double)rate * 1e9));
        }
        if (size == 0 || rate == 0)
            sleep_until(now_ns() + (size > 0 ? 10 : 1) * (uint64_t)idle_ns);
    }
    return NULL;
}

static void carry_out(const char* line, FILE* answers)
{
    uint64_t number;
    uint64_t rate = 0;
    char target[sizeof(net_target)];
    if (sscanf(line, "cpu %" SCNu64, &number) == 1 && number <= 100) {
        atomic_store(&busy_percent, (uint_fast32_t)number);
    } else if (sscanf(line, "net %63s %" SCNu64, target, &number) == 2) {
        memcpy(net_target, target, sizeof(target));
        atomic_store(&net_rate, number);
    } else if (sscanf(line, "memory %" SCNu64 " %" SCNu64, &number, &rate) >= 1) {
        atomic_store(&memory_rate, rate);
        atomic_store(&wanted_memory, number);
    } else if (sscanf(line, "end %" SCNu64, &number) == 1) {
        atomic_store(&end_ns, number > 0 ? now_ns() + number * 1000000000 : 0);
    } else if (strncmp(line, "status", 6) == 0) {
        fprintf(answers, "alive %" PRIu64 " errors %" PRIuFAST32 "\n", now_ns() / 1000000000,
                atomic_load(&counters.memory_errors));
        return;
    } else {
        fprintf(answers, "what? %s", line);
        return;
    }
    fprintf(answers, "ok %s", line);
}

static void* end_in_time(void* argument)
{
    (void)argument;
    for (;; sleep_until(now_ns() + 10 * (uint64_t)period_ns)) {
        const uint64_t end = atomic_load(&end_ns);
        if (end == 0 || now_ns() < end)
            continue;
        atomic_store(&busy_percent, 0);
        atomic_store(&net_rate, 0);
        atomic_store(&wanted_memory, 0);
        atomic_store(&end_ns, 0);
    }
    return NULL;
}

static void* obey(void* argument)
{
    (void)argument;
    const int fd = open(options.control, O_RDWR | O_NOCTTY);
    struct termios raw;
    if (fd < 0 || tcgetattr(fd, &raw) != 0)
        give_up("cannot open %s", options.control);
    cfmakeraw(&raw);
    tcsetattr(fd, TCSANOW, &raw);
    FILE* commands = fdopen(fd, "r");
    FILE* answers = fdopen(dup(fd), "w");
    char line[256];
    while (commands && answers && fgets(line, sizeof(line), commands)) {
        carry_out(line, answers);
        fflush(answers);
    }
    return NULL;
}

void load_start(void)
{
    for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
        start_thread(burn, NULL);
    start_thread(send_all, NULL);
    start_thread(fill, NULL);
    start_thread(end_in_time, NULL);
    start_thread(obey, NULL);
}
