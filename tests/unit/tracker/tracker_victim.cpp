// SPDX-License-Identifier: GPL-2.0-or-later
//
// The process whose memory the trackers' tests watch: it maps a file as QEMU maps guest RAM and
// writes it as it is told, a line on standard input each; each is answered by "ok".
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr size_t page_size = 4096;

/// Writes counters all over the memory. Each thread has its own eight bytes of each page.
void scribble(char* memory, uint64_t pages, uint64_t writes, uint64_t thread)
{
    uint64_t state = thread + 88172645463325252ULL;
    for (uint64_t i = 1; i <= writes; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of the writes hit a few pages only: they are written while they are collected.
        const uint64_t page = i % 2 ? state % pages : state % 16;
        auto* counter = reinterpret_cast<uint64_t*>(memory + page * page_size) + thread;
        __atomic_store_n(counter, i, __ATOMIC_RELAXED);
    }
}

/// Direct reads of the file's blocks, in turn, into one page.
bool read_direct(const char* path, char* page, uint64_t times)
{
    const int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = true;
    for (uint64_t i = 0; i < times && done; ++i)
        done = pread(fd, page, page_size, static_cast<off_t>(i % 2 * page_size)) ==
               static_cast<ssize_t>(page_size);
    close(fd);
    return done;
}

bool obey(const char* line, char* memory, uint64_t pages)
{
    unsigned long long a = 0, b = 0;
    char path[256];
    if (sscanf(line, "write %llu %llu", &a, &b) == 2) {
        memset(memory + a * page_size, static_cast<int>(b), page_size);
    } else if (strcmp(line, "fill\n") == 0) {
        memset(memory, 1, pages * page_size);
    } else if (sscanf(line, "read %llu", &a) == 1) {
        (void)*static_cast<volatile char*>(memory + a * page_size);
    } else if (sscanf(line, "scribble %llu", &a) == 1) {
        std::thread other(scribble, memory, pages, a, 1);
        scribble(memory, pages, a, 0);
        other.join();
    } else if (sscanf(line, "direct %llu %llu %255s", &a, &b, path) == 3) {
        return read_direct(path, memory + a * page_size, b);
    } else {
        return false;
    }
    return true;
}

} // namespace

int main(int, char** arguments)
{
    const int fd = atoi(arguments[1]);
    const uint64_t pages = strtoull(arguments[2], nullptr, 10);
    void* map = mmap(nullptr, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return 1;
    puts("ok");
    fflush(stdout);
    char line[512];
    while (fgets(line, sizeof line, stdin)) {
        puts(obey(line, static_cast<char*>(map), pages) ? "ok" : "failed");
        fflush(stdout);
    }
    return 0;
}
