// SPDX-License-Identifier: GPL-2.0-or-later
//
// The process whose memory the trackers' tests watch: it maps a file as QEMU maps guest RAM and
// writes it as it is told, a line on standard input each; each is answered by "ok".
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

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

/// Threads that stand for vCPUs: they live on, and do what all are told.
class Team {
public:
    void start(unsigned count)
    {
        std::unique_lock lock(lock_);
        for (unsigned i = 0; i < count; ++i)
            std::thread(&Team::run, this, i).detach();
        changed_.wait(lock, [&] { return tids_.size() == count; });
    }
    /// Returns when all have done it.
    void work(std::function<void(unsigned)> job)
    {
        std::unique_lock lock(lock_);
        job_ = std::move(job);
        left_ = static_cast<unsigned>(tids_.size());
        ++turn_;
        changed_.notify_all();
        changed_.wait(lock, [&] { return left_ == 0; });
    }
    [[nodiscard]] const std::vector<pid_t>& tids() const { return tids_; }

private:
    [[noreturn]] void run(unsigned number)
    {
        std::unique_lock lock(lock_);
        tids_.push_back(gettid());
        changed_.notify_all();
        for (uint64_t turn = 0;;) {
            changed_.wait(lock, [&] { return turn_ != turn; });
            turn = turn_;
            const std::function<void(unsigned)> job = job_;
            lock.unlock();
            job(number);
            lock.lock();
            --left_;
            changed_.notify_all();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::vector<pid_t> tids_;
    std::function<void(unsigned)> job_;
    uint64_t turn_ = 0;
    unsigned left_ = 0;
};
Team g_team;

using Clock = std::chrono::steady_clock;

void compute(std::chrono::microseconds time)
{
    const Clock::time_point start = Clock::now();
    while (Clock::now() - start < time) {
    }
}

/// Each thread of the team writes every so manieth page from the first on, and computes between
/// two, until the time is over. Prints how many pages that were in how many microseconds.
void spread(char* memory, uint64_t pages, std::chrono::milliseconds time,
            std::chrono::microseconds between)
{
    std::atomic<uint64_t> written = 0;
    const Clock::time_point start = Clock::now();
    g_team.work([&](unsigned number) {
        for (uint64_t page = number; page < pages; page += g_team.tids().size()) {
            ++memory[page * page_size];
            ++written;
            compute(between);
            if (Clock::now() - start >= time)
                return;
        }
    });
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
    printf("ok %llu %lld\n", static_cast<unsigned long long>(written),
           static_cast<long long>(took.count()));
}

/// What a team does; false if it is none of this. It prints its own answer.
bool obey_as_team(const char* line, char* memory, uint64_t pages)
{
    unsigned long long a = 0, b = 0, c = 0;
    if (sscanf(line, "team %llu", &a) == 1) {
        g_team.start(static_cast<unsigned>(a));
        printf("ok");
        for (const pid_t tid : g_team.tids())
            printf(" %d", tid);
        puts("");
    } else if (sscanf(line, "team-spread %llu %llu", &a, &b) == 2) {
        spread(memory, pages, std::chrono::milliseconds(a), std::chrono::microseconds(b));
    } else if (sscanf(line, "team-scribble %llu", &a) == 1) {
        g_team.work([=](unsigned number) { scribble(memory, pages, a, number); });
        puts("ok");
    } else if (sscanf(line, "team-work %llu %llu %llu", &a, &b, &c) == 3) {
        // Reads all, and writes the pages from a to b, c times.
        std::atomic<uint64_t> sum = 0;
        g_team.work([&](unsigned number) {
            for (uint64_t turn = 0; turn < c; ++turn) {
                for (uint64_t page = 0; page < pages; ++page)
                    sum += static_cast<volatile char*>(memory)[page * page_size];
                for (uint64_t page = a; page < b; ++page)
                    static_cast<volatile char*>(memory)[page * page_size + number] = 1;
            }
        });
        puts("ok");
    } else {
        return false;
    }
    return true;
}

int g_end_of_wait = -1;

/// A thread that no signal stops until it is told so: it waits for a child of vfork().
bool wait_in_kernel()
{
    int begun[2];
    int over[2];
    if (pipe(begun) < 0 || pipe(over) < 0)
        return false;
    g_end_of_wait = over[1];
    const int tell = begun[1];
    const int told = over[0];
    std::thread([tell, told] {
        if (vfork() == 0) {
            char byte;
            _exit(write(tell, "x", 1) == 1 && read(told, &byte, 1) == 1 ? 0 : 1);
        }
    }).detach();
    char byte;
    return read(begun[0], &byte, 1) == 1;
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
    } else if (strcmp(line, "advise-huge\n") == 0) {
        return madvise(memory, pages * page_size, MADV_HUGEPAGE) == 0;
    } else if (strcmp(line, "wait-in-kernel\n") == 0) {
        return wait_in_kernel();
    } else if (strcmp(line, "wait-no-more\n") == 0) {
        return write(g_end_of_wait, "x", 1) == 1;
    } else if (strcmp(line, "variables\n") == 0) {
        return !getenv("LD_PRELOAD") && !getenv("DROVER_TRACKER_SOCKET") &&
               !getenv("DROVER_TRACKER_FILES");
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
    struct stat file {};
    fstat(fd, &file); // whole huge pages, as QEMU does it
    void* map =
        mmap(nullptr, static_cast<size_t>(file.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return 1;
    puts("ok");
    fflush(stdout);
    char line[512];
    while (fgets(line, sizeof line, stdin)) {
        char* memory = static_cast<char*>(map);
        if (!obey_as_team(line, memory, pages))
            puts(obey(line, memory, pages) ? "ok" : "failed");
        fflush(stdout);
    }
    return 0;
}
