// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The program that runs inside the test guests: it writes memory at a wanted rate, keeps every
/// page verifiable, and tells the host each millisecond how it is.

enum pattern {
    PATTERN_RANDOM_PAGES,   ///< random pages, an eighth of each rewritten
    PATTERN_SMALL_CHANGES,  ///< random pages, two words of each rewritten
    PATTERN_RANDOM_CONTENT, ///< random pages, rewritten whole
    PATTERN_SWEEP,          ///< pages in order, rewritten whole
    PATTERN_IDLE,           ///< nothing is written
};

struct options {
    uint64_t memory;       ///< bytes to touch and write
    uint32_t dirty;        ///< pages to write a second, all threads together
    uint32_t threads;      ///< writers; 0: one for each CPU
    uint32_t verify;       ///< pages to verify a second, all threads together
    uint32_t tick;         ///< ms between two turns of a writer
    enum pattern pattern;  ///< what a write looks like
    char heartbeat[64];    ///< HOST:PORT, or empty
    uint32_t tell;         ///< ms between two lines that say how it is, 0: says nothing
    char tcp[64];          ///< HOST:PORT, or empty
    bool disk;             ///< write and verify /dev/vda
    bool place;            ///< say where the memory lies
    bool entropy;          ///< read /dev/hwrng
    bool watch;            ///< look after clocks, sleeps and registers
    char control[64];      ///< a serial port that says what load to make, or empty
    uint32_t reboot_after; ///< seconds after READY, each time it boots; 0: never
};

enum tcp_state { TCP_OFF, TCP_CONNECTING, TCP_OPEN, TCP_BROKEN, TCP_CORRUPT };

/// What the threads report and the heartbeat carries.
struct counters {
    atomic_uint_fast64_t pages_written;
    atomic_uint_fast64_t pages_verified;
    atomic_uint_fast32_t memory_errors;
    atomic_uint_fast32_t disk_errors;
    atomic_uint_fast64_t disk_blocks;
    atomic_uint_fast64_t entropy_bytes; ///< read from /dev/hwrng
    atomic_uint_fast64_t tcp_bytes;     ///< echoed by the host and found right
    atomic_uint_fast32_t tcp_state;
    atomic_uint_fast32_t dirty_rate;     ///< wanted, changed by the host's commands
    atomic_uint_fast32_t clock_back;     ///< how often time ran back, or clocks moved apart
    atomic_uint_fast32_t clock_turns;    ///< of the ACPI timer that the kernel's clock has missed
    atomic_uint_fast64_t clock_apart_us; ///< the furthest that TSC and clock moved apart at once
    atomic_uint_fast32_t sleeps_early;
    atomic_uint_fast64_t registers_held; ///< how often all of them were, and compared
    atomic_uint_fast32_t registers_wrong;
    atomic_bool ready;
};

extern struct options options;
extern struct counters counters;

void parse_options(const char* command_line);

void memory_start(void); ///< touches the memory, then starts the writers
void heartbeat_start(void);
void tell_start(void); ///< on the console, each options.tell ms
void tcp_start(void);
void disk_start(void);
void entropy_start(void);
void load_start(void); ///< obeys options.control
void clocks_start(void);
void registers_start(void);

/// How much later than asked for sleeps ended since it was taken last.
struct lateness {
    uint32_t sleeps;
    uint32_t median_us;
    uint32_t worst_us;
};
struct lateness watch_take(void);

/// Prints the line on the console, at once.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
/// As say(), and ends the program: the guest is of no use.
_Noreturn void give_up(const char* format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_ns(void);
/// Sleeps until that time of the monotonic clock.
void sleep_until(uint64_t deadline_ns);
void start_thread(void* (*body)(void*), void* argument);
/// A step of xorshift64*; the state must not be 0.
uint64_t random_step(uint64_t* state);
enum { MAX_CPUS = 64 };
unsigned cpu_count(void);       ///< at most MAX_CPUS
void stay_on_cpu(unsigned cpu); ///< the calling thread
void hurry(void);               ///< before all ordinary threads, the calling one
void reboot_guest(void);
void panic_guest(void);

/// An IPv4 socket connected to HOST:PORT, or -1.
int connect_to(const char* target, int type);
