// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/// A thread on each CPU fills its registers, holds them for a fifth of a second, partly busy and
/// partly asleep, and looks whether they are what they were: general ones, x87, SSE, and AVX where
/// the CPU has it.

/// As FXSAVE64 stores it (SDM1 10.5.1).
struct __attribute__((packed, aligned(64))) fx {
    uint16_t control;
    uint16_t status;
    uint16_t tags; ///< a bit each: 1 is not empty
    uint8_t last_instruction[18];
    uint32_t mxcsr;
    uint32_t mxcsr_mask;
    uint8_t st[8][16]; ///< 10 bytes each, from the stack's top on
    uint8_t xmm[16][16];
    uint8_t reserved[96];
};

/// The layout that registers.S knows.
struct registers {
    struct fx fx;
    uint8_t ymm[16][32];
    uint64_t general[8];
};

enum { ROUNDS = 10, SPINS = 1000000, PAUSE_NS = 15000000, ST_SIZE = 10 };

void hold_registers(const struct registers* in, struct registers* out, uint64_t spins,
                    uint64_t rounds, const struct timespec* pause, uint64_t avx);

/// Random values, in a state that is valid and has all exceptions masked.
static void draw(struct registers* it, uint64_t* random)
{
    uint64_t words[sizeof(*it) / sizeof(uint64_t)];
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = random_step(random);
    memcpy(it, words, sizeof(*it));
    const uint64_t choice = random_step(random) >> 16;
    it->fx.control = (uint16_t)(0x037f | (choice & 3) << 10);
    it->fx.status = (uint16_t)(choice & 0x7f00); // the stack's top, and condition codes
    it->fx.tags = 0xff;
    it->fx.mxcsr = (uint32_t)(0x1f80 | (choice >> 16 & 3) << 13 | (choice >> 18 & 0x3f));
    it->fx.mxcsr_mask = 0;
    memset(it->fx.last_instruction, 0, sizeof(it->fx.last_instruction));
    memset(it->fx.reserved, 0, sizeof(it->fx.reserved));
    for (unsigned i = 0; i < 16; i++)
        memcpy(it->ymm[i], it->fx.xmm[i], 16);
}

static void same(const char* what, unsigned number, const void* wanted, const void* found,
                 size_t size)
{
    if (memcmp(wanted, found, size) != 0 && atomic_fetch_add(&counters.registers_wrong, 1) < 10) {
        uint64_t low[2] = {0, 0};
        memcpy(&low[0], wanted, size < 8 ? size : 8);
        memcpy(&low[1], found, size < 8 ? size : 8);
        say("CORRUPT register %s%u: %llx became %llx", what, number, (unsigned long long)low[0],
            (unsigned long long)low[1]);
    }
}

static void compare(const struct registers* wanted, const struct registers* found, bool avx)
{
    for (unsigned i = 0; i < 8; i++) {
        same("general", i, &wanted->general[i], &found->general[i], sizeof(uint64_t));
        same("st", i, wanted->fx.st[i], found->fx.st[i], ST_SIZE);
    }
    for (unsigned i = 0; i < 16; i++) {
        same("xmm", i, wanted->fx.xmm[i], found->fx.xmm[i], 16);
        if (avx)
            same("ymm-high", i, wanted->ymm[i] + 16, found->ymm[i] + 16, 16);
    }
    same("x87-control", 0, &wanted->fx.control, &found->fx.control, 2);
    same("x87-status", 0, &wanted->fx.status, &found->fx.status, 2);
    same("x87-tags", 0, &wanted->fx.tags, &found->fx.tags, 1);
    same("mxcsr", 0, &wanted->fx.mxcsr, &found->fx.mxcsr, 4);
}

static void* hold_on(void* argument)
{
    const unsigned cpu = (unsigned)(uintptr_t)argument;
    const struct timespec pause = {0, PAUSE_NS};
    const bool avx = __builtin_cpu_supports("avx");
    static struct registers wanted[MAX_CPUS];
    static struct registers found[MAX_CPUS];
    uint64_t random = 0x9e3779b97f4a7c15 * (cpu + 1);
    stay_on_cpu(cpu);
    for (;;) {
        draw(&wanted[cpu], &random);
        hold_registers(&wanted[cpu], &found[cpu], SPINS, ROUNDS, &pause, avx);
        compare(&wanted[cpu], &found[cpu], avx);
        atomic_fetch_add(&counters.registers_held, 1);
    }
    return NULL;
}

void registers_start(void)
{
    say("REGISTERS with%s AVX", __builtin_cpu_supports("avx") ? "" : "out");
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        start_thread(hold_on, (void*)(uintptr_t)cpu);
}
