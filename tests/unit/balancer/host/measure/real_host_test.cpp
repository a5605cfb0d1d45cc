// SPDX-License-Identifier: GPL-2.0-or-later
//
// The monitors on this machine's kernel: processes that burn, wait and hold memory, and TCP.
#include "contrib/balancer/host/measure/load_monitor.h"
#include "tests/unit/balancer/host/measure/child_process.h"

#include <arpa/inet.h>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace drover::balancer {

namespace {

using testing::ChildProcess;

void burn(double seconds)
{
    timespec now = {};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    const double end = static_cast<double>(now.tv_sec) + now.tv_nsec / 1e9 + seconds;
    while (static_cast<double>(now.tv_sec) + now.tv_nsec / 1e9 < end)
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
}

void pin_to_one_core()
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<size_t>(sched_getcpu()), &cores);
    sched_setaffinity(0, sizeof cores, &cores);
}

/// Samples, and returns the seconds since the sample before.
double sample(LoadMonitor& monitor, TimePoint& last)
{
    const Moment now = Moment::now();
    monitor.sample(now);
    return Duration(now.at - std::exchange(last, now.at)).count();
}

} // namespace

TEST(RealHost, SeesACoreBurn)
{
    const ChildProcess guest([](int) { burn(0.3); });
    LoadMonitor monitor({});
    monitor.add({.name = "guest", .pid = guest.pid()});
    TimePoint last;
    sample(monitor, last);
    guest.step();
    const double elapsed = sample(monitor, last);
    const VmLoad& vm = monitor.vms()[0];
    EXPECT_NEAR(vm.cpu * elapsed, 0.3, 0.05);
    EXPECT_GT(monitor.host().cpu_busy * elapsed, 0.2);
    EXPECT_LE(monitor.host().cpu_busy, monitor.host().cores);
    EXPECT_GT(vm.resident, 0);
    EXPECT_GT(monitor.host().memory_total, monitor.host().memory_available);
    sample(monitor, last);
    EXPECT_LT(monitor.vms()[0].cpu, 0.1); // and that it stopped
}

TEST(RealHost, SeesThatTwoWantOneCore)
{
    // A child's child burns beside it on the same core: each waits for the other.
    const ChildProcess guest([](int) {
        pin_to_one_core();
        const pid_t other = fork();
        burn(0.2);
        if (other == 0)
            pause();
    });
    LoadMonitor monitor({});
    monitor.add({.name = "guest", .pid = guest.pid()});
    TimePoint last;
    sample(monitor, last);
    guest.step();
    const double elapsed = sample(monitor, last);
    if (!monitor.vms()[0].gaps.empty())
        GTEST_SKIP() << monitor.vms()[0].gaps[0];
    EXPECT_GT(monitor.vms()[0].cpu_wait * elapsed, 0.05);
}

TEST(RealHost, CountsSharedMemoryOnce)
{
    constexpr size_t size = 32 << 20;
    const ChildProcess guest([](int n) {
        static char* memory = nullptr;
        if (n == 0) {
            const int fd = memfd_create("guest", MFD_CLOEXEC);
            if (ftruncate(fd, size) < 0)
                _exit(1);
            memory =
                static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        }
        std::memset(memory, 1, size);
        if (n == 0 && fork() == 0) {
            std::memset(memory, 2, size);
            pause();
        }
    });
    LoadMonitor monitor({});
    monitor.add({.name = "guest", .pid = guest.pid()});
    TimePoint last;
    sample(monitor, last);
    const double before = monitor.vms()[0].resident;
    guest.step();
    guest.step();
    sample(monitor, last);
    // Forked from a process that has been at work, both have that one's memory besides.
    EXPECT_GE(monitor.vms()[0].resident, before + size);
    EXPECT_LT(monitor.vms()[0].resident, 2 * before + 1.5 * size);
    EXPECT_EQ(monitor.vms()[0].swapped, 0) << "unless this machine swaps right now";
}

TEST(RealHost, AnEmulatorThatDiesIsGone)
{
    auto guest = std::make_unique<ChildProcess>([](int) {});
    LoadMonitor monitor({});
    const VmMonitor& vm = monitor.add({.name = "guest", .pid = guest->pid()});
    TimePoint last;
    sample(monitor, last);
    EXPECT_FALSE(vm.is_gone());
    guest.reset();
    sample(monitor, last);
    EXPECT_TRUE(vm.is_gone());
}

namespace {

/// A guest whose netdev is a TCP connection to us.
class TcpGuest {
public:
    TcpGuest()
    {
        listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int buffer = 32 << 10; // so that what is not taken waits at the guest
        setsockopt(listener_.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        socklen_t size = sizeof address_;
        EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address_), size), 0);
        EXPECT_EQ(listen(listener_.get(), 1), 0);
        getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address_), &size);
        child_.emplace([this](int n) { work(n); });
        child_->step();
        peer_ = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }

    /// The guest sends until no more goes.
    void send_all() const { child_->step(); }

    /// We read some of it.
    void take(size_t bytes) const
    {
        std::vector<char> buffer(bytes);
        ASSERT_EQ(recv(peer_.get(), buffer.data(), bytes, MSG_WAITALL),
                  static_cast<ssize_t>(bytes));
    }

    [[nodiscard]] pid_t pid() const { return child_->pid(); }
    [[nodiscard]] uint16_t port() const { return ntohs(address_.sin_port); }

private:
    void work(int n) const
    {
        static int fd = -1;
        static const char bytes[65536] = {};
        if (n == 0) {
            fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) < 0)
                _exit(1);
        } else {
            while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
            }
        }
    }

    UniqueFd listener_;
    sockaddr_in address_ = {};
    std::optional<ChildProcess> child_;
    UniqueFd peer_;
};

} // namespace

TEST(RealHost, SeesANetdevOverTcp)
{
    const TcpGuest guest;
    LoadMonitor monitor({});
    monitor.add({.name = "guest",
                 .pid = guest.pid(),
                 .nics = {{.id = "net0", .expected = 5e6, .tcp_port = guest.port()}}});
    const auto nic = [&](int second) { // as if seconds went by
        monitor.sample({TimePoint(std::chrono::seconds(1000 + second)), 0});
        return monitor.vms()[0].nics[0];
    };
    (void)nic(0);
    ASSERT_TRUE(monitor.vms()[0].gaps.empty()) << monitor.vms()[0].gaps[0];
    EXPECT_FALSE(nic(1).wants_more); // idle, far below what it expects
    for (int second = 2; second < 5; ++second) {
        guest.send_all();
        guest.take(100000);
        guest.send_all();
        const VmNicLoad load = nic(second);
        EXPECT_GT(load.tx, 50e3);
        EXPECT_GT(load.backlog, 50e3);
        EXPECT_EQ(load.rx, 0);
        EXPECT_EQ(load.wants_more, second > 2); // once the queue stands
    }
}

} // namespace drover::balancer
