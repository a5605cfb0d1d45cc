// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

struct counters counters;

static void print_line(const char* format, va_list arguments)
{
    char line[256];
    vsnprintf(line, sizeof(line), format, arguments);
    printf("%s\n", line);
    fflush(stdout);
}

void say(const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
}

void give_up(const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    say("WORKLOAD FAILED");
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void sleep_until(uint64_t deadline_ns)
{
    struct timespec deadline = {(time_t)(deadline_ns / 1000000000),
                                (long)(deadline_ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL) != 0) {
    }
}

uint64_t random_step(uint64_t* state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1d;
}

void start_thread(void* (*body)(void*), void* argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0)
        give_up("cannot start a thread");
    pthread_detach(thread);
}

unsigned cpu_count(void)
{
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > MAX_CPUS ? MAX_CPUS : (unsigned)count;
}

void stay_on_cpu(unsigned cpu)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    if (sched_setaffinity(0, sizeof(only), &only) != 0)
        give_up("cannot stay on CPU %u", cpu);
}

void hurry(void)
{
    const struct sched_param priority = {.sched_priority = 50};
    sched_setscheduler(0, SCHED_FIFO, &priority);
}

void reboot_guest(void)
{
    say("REBOOTING");
    reboot(RB_AUTOBOOT);
}

/// The kernel's own way: /proc/sysrq-trigger, which root may always write.
void panic_guest(void)
{
    int fd = open("/proc/sysrq-trigger", O_WRONLY);
    if (fd < 0 || write(fd, "c", 1) != 1)
        give_up("cannot panic");
}

int connect_to(const char* target, int type)
{
    char host[64];
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char* colon = strrchr(target, ':');
    if (!colon || (size_t)(colon - target) >= sizeof(host))
        return -1;
    memcpy(host, target, (size_t)(colon - target));
    host[colon - target] = 0;
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return -1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr*)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void* reboot_later(void* argument)
{
    (void)argument;
    sleep_until(now_ns() + options.reboot_after * 1000000000ull);
    reboot_guest();
    return NULL;
}

int main(void)
{
    char command_line[4096] = "";
    int fd = open("/proc/cmdline", O_RDONLY);
    if (fd < 0 || read(fd, command_line, sizeof(command_line) - 1) <= 0)
        give_up("cannot read /proc/cmdline");
    close(fd);
    parse_options(command_line);

    memory_start();
    if (options.tcp[0])
        tcp_start();
    if (options.disk)
        disk_start();
    if (options.entropy)
        entropy_start();
    if (options.control[0])
        load_start();
    if (options.watch) {
        clocks_start();
        registers_start();
    }
    if (options.reboot_after)
        start_thread(reboot_later, NULL);
    atomic_store(&counters.ready, true);
    if (options.heartbeat[0])
        heartbeat_start();
    say("READY");
    if (options.tell)
        tell_start();
    for (;;)
        pause();
}
