// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/// A page can be verified from its own content (number, sum) and, so that a page that is whole but
/// old is noticed too, from the table of generations elsewhere in memory.
#define WORDS_IN_PAGE 509
struct page {
    uint64_t number;
    uint64_t generation;
    uint64_t sum; ///< of words[i] * (2 i + 1)
    uint64_t words[WORDS_IN_PAGE];
};
_Static_assert(sizeof(struct page) == 4096, "a page is a page");

/// Each writer owns the pages of which the number modulo the number of writers is its index.
struct writer {
    uint32_t index;
    uint64_t random;
    uint64_t next_swept;
    uint64_t next_verified;
};

static struct page* pages;
static uint32_t* generations;
static uint64_t page_count;
static uint32_t writer_count;

static void change_words(struct page* page, uint64_t* random, unsigned start, unsigned count)
{
    uint64_t sum = page->sum;
    for (unsigned i = start; i < start + count; i++) {
        uint64_t value = random_step(random) | 1;
        sum += (value - page->words[i]) * (2 * i + 1);
        page->words[i] = value;
    }
    page->sum = sum;
}

static void write_page(struct writer* writer, uint64_t number)
{
    struct page* page = &pages[number];
    unsigned count = WORDS_IN_PAGE;
    if (options.pattern == PATTERN_RANDOM_PAGES)
        count = WORDS_IN_PAGE / 8;
    else if (options.pattern == PATTERN_SMALL_CHANGES)
        count = 2;
    unsigned start = (unsigned)(random_step(&writer->random) % (WORDS_IN_PAGE - count + 1));
    change_words(page, &writer->random, start, count);
    page->generation = ++generations[number];
}

static void verify_page(uint64_t number)
{
    const struct page* page = &pages[number];
    uint64_t sum = 0;
    for (unsigned i = 0; i < WORDS_IN_PAGE; i++)
        sum += page->words[i] * (2 * i + 1);
    atomic_fetch_add_explicit(&counters.pages_verified, 1, memory_order_relaxed);
    if (page->number == number && page->generation == generations[number] && page->sum == sum)
        return;
    if (atomic_fetch_add(&counters.memory_errors, 1) < 10)
        say("CORRUPT page %llu: says it is page %llu, generation %llu of %u, sum %s",
            (unsigned long long)number, (unsigned long long)page->number,
            (unsigned long long)page->generation, generations[number],
            page->sum == sum ? "right" : "wrong");
}

static uint64_t own_page(const struct writer* writer, uint64_t nth)
{
    uint64_t own = (page_count - writer->index + writer_count - 1) / writer_count;
    return writer->index + nth % own * writer_count;
}

static void work(struct writer* writer, uint32_t writes, uint32_t checks)
{
    for (uint32_t i = 0; i < writes; i++) {
        uint64_t nth = options.pattern == PATTERN_SWEEP ? writer->next_swept++
                                                        : random_step(&writer->random) >> 11;
        write_page(writer, own_page(writer, nth));
    }
    atomic_fetch_add_explicit(&counters.pages_written, writes, memory_order_relaxed);
    for (uint32_t i = 0; i < checks; i++)
        verify_page(own_page(writer, writer->next_verified++));
}

/// Paced by the tick, a millisecond if nobody says otherwise. What a pause or a slow host made it
/// miss is not made up for, so that the rate seen from outside is the rate that the guest was able
/// to keep.
static void* write_pages(void* argument)
{
    const uint64_t tick = options.tick * 1000000ull;
    struct writer* writer = argument;
    double writes_due = 0;
    double checks_due = 0;
    uint64_t deadline = now_ns();
    for (;;) {
        deadline += tick;
        sleep_until(deadline);
        uint64_t now = now_ns();
        if (now > deadline + 20 * tick)
            deadline = now;
        uint32_t rate = atomic_load_explicit(&counters.dirty_rate, memory_order_relaxed);
        writes_due += rate * 1e-3 * options.tick / writer_count;
        checks_due += options.verify * 1e-3 * options.tick / writer_count;
        work(writer, (uint32_t)writes_due, (uint32_t)checks_due);
        writes_due -= (uint32_t)writes_due;
        checks_due -= (uint32_t)checks_due;
    }
    return NULL;
}

static void* map_memory(size_t bytes)
{
    void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        give_up("cannot map %zu bytes", bytes);
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    return memory;
}

/// The kernel tells frames to root alone; its pages do not wander without a reason.
static void tell_place(void)
{
    static const uint64_t frame_bits = (1ull << 55) - 1;
    static const uint64_t four_gib = 1ull << 20; // frames
    int fd = open("/proc/self/pagemap", O_RDONLY);
    uint64_t above = 0;
    for (uint64_t i = 0; i < page_count; i++) {
        uint64_t entry = 0;
        off_t at = (off_t)((uintptr_t)&pages[i] / sizeof(struct page) * sizeof(entry));
        if (pread(fd, &entry, sizeof(entry), at) != sizeof(entry))
            give_up("cannot read /proc/self/pagemap");
        above += (entry & frame_bits) >= four_gib;
    }
    close(fd);
    say("PLACE %llu pages above 4 GiB, %llu below", (unsigned long long)above,
        (unsigned long long)(page_count - above));
}

void memory_start(void)
{
    page_count = options.memory / sizeof(struct page);
    writer_count = options.threads ? options.threads : (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (page_count < writer_count)
        give_up("drover.mem is too small");
    pages = map_memory(page_count * sizeof(struct page));
    generations = map_memory(page_count * sizeof(uint32_t));

    uint64_t random = 0x9e3779b97f4a7c15;
    for (uint64_t i = 0; i < page_count; i++) {
        pages[i].number = i;
        pages[i].generation = generations[i] = 1;
        change_words(&pages[i], &random, 0, WORDS_IN_PAGE);
    }
    if (options.place)
        tell_place();
    atomic_store(&counters.dirty_rate, options.pattern == PATTERN_IDLE ? 0 : options.dirty);
    for (uint32_t i = 0; i < writer_count; i++) {
        struct writer* writer = calloc(1, sizeof(*writer));
        if (!writer)
            give_up("out of memory");
        writer->index = i;
        writer->random = random_step(&random) | 1;
        start_thread(write_pages, writer);
    }
}
