// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4096, MAX_BLOCKS = 4096 };

static uint32_t generations[MAX_BLOCKS];

static void fill(uint64_t* block, uint64_t number, uint32_t generation)
{
    uint64_t random = (number + 1) * 0x9e3779b97f4a7c15 + generation;
    block[0] = number;
    block[1] = generation;
    for (unsigned i = 2; i < BLOCK / sizeof(uint64_t); i++)
        block[i] = random_step(&random);
}

static void report(const char* what, uint64_t number, const char* why)
{
    if (atomic_fetch_add(&counters.disk_errors, 1) < 10)
        say("CORRUPT disk: %s block %llu: %s", what, (unsigned long long)number, why);
}

static void check(int fd, uint64_t number, uint64_t* expected, uint64_t* found)
{
    fill(expected, number, generations[number]);
    memset(found, 0, BLOCK);
    if (pread(fd, found, BLOCK, (off_t)(number * BLOCK)) != BLOCK)
        report("read of", number, strerror(errno));
    else if (memcmp(expected, found, BLOCK) != 0)
        report("read of", number, found[0] == number ? "old or damaged" : "another block");
}

/// Writes a block, reads it back past all caches, and reads one written some time ago.
static void write_and_check(int fd, uint64_t blocks, uint64_t* random, uint64_t* expected,
                            uint64_t* found)
{
    uint64_t number = (random_step(random) >> 11) % blocks;
    fill(expected, number, generations[number] + 1);
    if (pwrite(fd, expected, BLOCK, (off_t)(number * BLOCK)) != BLOCK) {
        report("write of", number, strerror(errno));
        return;
    }
    generations[number]++;
    check(fd, number, expected, found);
    uint64_t other = (random_step(random) >> 11) % blocks;
    if (generations[other] > 0)
        check(fd, other, expected, found);
    atomic_fetch_add(&counters.disk_blocks, 1);
}

static void* write_blocks(void* argument)
{
    (void)argument;
    int fd = open("/dev/vda", O_RDWR | O_DIRECT | O_SYNC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < BLOCK)
        give_up("drover.disk: /dev/vda is missing or empty");
    uint64_t blocks = (uint64_t)size / BLOCK;
    if (blocks > MAX_BLOCKS)
        blocks = MAX_BLOCKS;
    uint64_t* expected = aligned_alloc(BLOCK, BLOCK);
    uint64_t* found = aligned_alloc(BLOCK, BLOCK);
    if (!expected || !found)
        give_up("out of memory");
    uint64_t random = 88172645463325252;
    for (;;) {
        write_and_check(fd, blocks, &random, expected, found);
        sleep_until(now_ns() + 5000000);
    }
    return NULL;
}

void disk_start(void)
{
    start_thread(write_blocks, NULL);
}
