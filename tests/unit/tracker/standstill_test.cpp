// SPDX-License-Identifier: GPL-2.0-or-later
//
// A process held still by its own child, as QEMU is by Drover.
#include "vmm/qemu/tracker/standstill.h"

#include <array>
#include <atomic>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace drover {
namespace {

constexpr size_t workers = 3;

/// What both processes and the test see.
struct Seen {
    std::array<std::atomic<uint64_t>, workers> turns;
    std::atomic<unsigned> signals;
};
Seen* g_seen = nullptr;

/// Whether a thread has done anything while this one was put aside many times.
bool works(const Seen& seen)
{
    const auto sum = [&] {
        uint64_t turns = 0;
        for (const auto& worker : seen.turns)
            turns += worker;
        return turns;
    };
    const uint64_t before = sum();
    for (int i = 0; i < 2000; ++i)
        sched_yield();
    return sum() != before;
}

/// A process whose threads never rest, and its child, which runs `in_child` and ends with what it
/// returns.
class Restless {
public:
    explicit Restless(const std::function<bool(const ProcessHandle&, int fd)>& in_child)
    {
        void* memory =
            mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        seen_ = g_seen = new (memory) Seen{};
        auto pair = socket_pair();
        auto end = socket_pair();
        ours_ = std::move(pair->first);
        ended_ = std::move(end->first);
        pid_ = fork();
        if (pid_ != 0)
            return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGRTMAX - 1, [](int) { ++g_seen->signals; });
        const auto handle = ProcessHandle::open(getpid());
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            const char well = in_child(*handle, pair->second.get()) ? '+' : '-';
            _exit(write(end->second.get(), &well, 1) == 1 ? 0 : 1);
        }
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); // as the preloaded library does
        for (auto& turns : seen_->turns)
            std::thread([&turns] {
                while (true)
                    ++turns;
            }).detach();
        while (true)
            pause();
    }
    ~Restless()
    {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        munmap(seen_, sizeof(Seen));
    }
    Restless(const Restless&) = delete;
    Restless& operator=(const Restless&) = delete;

    [[nodiscard]] bool child_did_well() const
    {
        pollfd ended{ended_.get(), POLLIN, 0};
        char well = 0;
        return poll(&ended, 1, 20'000) == 1 && read(ended_.get(), &well, 1) == 1 && well == '+';
    }
    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] int socket() const { return ours_.get(); }
    [[nodiscard]] const Seen& seen() const { return *seen_; }

private:
    Seen* seen_ = nullptr;
    pid_t pid_ = -1;
    UniqueFd ours_, ended_;
};

bool stands_still_and_goes_on(const ProcessHandle& parent, int test)
{
    char byte = '+';
    while (!works(*g_seen)) {
    }
    Standstill::prepare_process();
    Standstill standstill(parent);
    const auto still = standstill.begin();
    if (!still || !*still || works(*g_seen))
        return false;
    // The test looks meanwhile.
    if (write(test, &byte, 1) != 1 || read(test, &byte, 1) != 1 || works(*g_seen))
        return false;
    standstill.go_on();
    while (!works(*g_seen)) {
    }
    return true;
}

/// Else a shell would take it for a job that was suspended.
/// Its name keeps it out of ThreadSanitizer's run, which knows no threads after a fork.
TEST(StandstillOfAParent, IsOfAllOfItAndItsOwnParentIsNotTold)
{
    const Restless restless(stands_still_and_goes_on);
    char byte = 0;
    ASSERT_EQ(read(restless.socket(), &byte, 1), 1);
    siginfo_t info{};
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(restless.pid()), &info,
                     WSTOPPED | WCONTINUED | WEXITED | WNOHANG | WNOWAIT),
              0);
    EXPECT_EQ(info.si_pid, 0);
    ASSERT_EQ(write(restless.socket(), &byte, 1), 1);
    EXPECT_TRUE(restless.child_did_well());
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(restless.pid()), &info,
                     WSTOPPED | WCONTINUED | WEXITED | WNOHANG | WNOWAIT),
              0);
    EXPECT_EQ(info.si_pid, 0);
}

TEST(StandstillOfAParent, LosesNoSignal)
{
    const Restless restless([](const ProcessHandle& parent, int test) {
        Standstill::prepare_process();
        char byte = '+';
        for (int i = 0; i < 100; ++i) {
            Standstill standstill(parent);
            const auto still = standstill.begin();
            if (!still)
                return false;
            if (i == 0 && write(test, &byte, 1) != 1)
                return false;
        }
        return true;
    });
    char byte = 0;
    ASSERT_EQ(read(restless.socket(), &byte, 1), 1);
    constexpr unsigned sent = 500; // each is queued and counted
    for (unsigned i = 0; i < sent; ++i) {
        ASSERT_EQ(sigqueue(restless.pid(), SIGRTMAX - 1, {}), 0);
        sched_yield();
    }
    EXPECT_TRUE(restless.child_did_well());
    for (int i = 0; i < 1'000'000 && restless.seen().signals < sent; ++i)
        sched_yield();
    EXPECT_EQ(restless.seen().signals, sent);
}

TEST(StandstillOfAParent, OneUnderADebuggerIsAnError)
{
    const Restless restless([](const ProcessHandle& parent, int) {
        Standstill::prepare_process();
        Standstill first(parent);
        const auto still = first.begin();
        Standstill second(parent);
        const auto refused = second.begin();
        return still && *still && !refused && refused.error().text().contains("debugger");
    });
    EXPECT_TRUE(restless.child_did_well());
}

} // namespace
} // namespace drover
