// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/vcpu_throttle.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

TEST(CpuQuota, IsShortWhereItCanBe)
{
    struct Row {
        double cores;
        long quota_us, period_us;
    };
    for (const Row& row : {Row{1, 10'000, 10'000}, Row{0.5, 5'000, 10'000}, Row{0.1, 1'000, 10'000},
                           Row{0.05, 1'000, 20'000}, Row{0.01, 1'000, 20'000},
                           Row{3, 30'000, 10'000}, Row{0, 1'000, 20'000}}) {
        const QuotaAndPeriod value = quota_for(row.cores);
        EXPECT_EQ(value.quota_us, row.quota_us) << row.cores;
        EXPECT_EQ(value.period_us, row.period_us) << row.cores;
    }
}

constexpr const char* v1_mounts =
    "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "31 23 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
constexpr const char* v2_mounts =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(CpuQuota, FindsTheGroupOfTheController)
{
    auto place =
        find_cpu_cgroup("5:cpuset:/a\n4:cpu,cpuacct:/machine/vm1/vcpu0\n0::/other\n", v1_mounts);
    ASSERT_TRUE(place) << place.error().text();
    EXPECT_EQ(place->directory, "/sys/fs/cgroup/cpu,cpuacct/machine/vm1/vcpu0");
    EXPECT_FALSE(place->v2);
    place = find_cpu_cgroup("0::/user.slice/vm.scope\n", v2_mounts);
    ASSERT_TRUE(place) << place.error().text();
    EXPECT_EQ(place->directory, "/sys/fs/cgroup/user.slice/vm.scope");
    EXPECT_TRUE(place->v2);
    place = find_cpu_cgroup("4:cpu,cpuacct:/\n", v1_mounts);
    ASSERT_TRUE(place);
    EXPECT_EQ(place->directory, "/sys/fs/cgroup/cpu,cpuacct");
}

TEST(CpuQuota, KnowsAContainersMount)
{
    const auto place =
        find_cpu_cgroup("0::/docker/abc/inner\n",
                        "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    ASSERT_TRUE(place);
    EXPECT_EQ(place->directory, "/sys/fs/cgroup/inner");
}

TEST(CpuQuota, SaysWhereNothingIsMounted)
{
    for (const char* mounts : {"", "garbage\n", "1 2 3 - cgroup2\n", "- - - - - - -\n"})
        EXPECT_FALSE(find_cpu_cgroup("0::/\n", mounts)) << mounts;
    EXPECT_FALSE(find_cpu_cgroup("", v2_mounts));
}

/// A thread that computes all the time.
class Spinner {
public:
    Spinner()
        : thread_([this] {
              id_ = static_cast<pid_t>(syscall(SYS_gettid));
              while (!stop_)
                  rounds_.fetch_add(1, std::memory_order_relaxed);
          })
    {
        while (id_ == 0)
            std::this_thread::yield();
    }
    ~Spinner()
    {
        stop_ = true;
        thread_.join();
    }
    [[nodiscard]] pid_t id() const { return id_; }

    /// Processor time per second, over half a second.
    double cores()
    {
        const auto clock_time = [this] {
            clockid_t clock;
            timespec time{};
            pthread_getcpuclockid(thread_.native_handle(), &clock);
            clock_gettime(clock, &time);
            return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
        };
        const TimePoint start = Clock::now();
        const double before = clock_time();
        while (seconds_since(start) < 0.5)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return (clock_time() - before) / seconds_since(start);
    }

private:
    std::atomic<pid_t> id_{0};
    std::atomic<bool> stop_{false};
    std::atomic<unsigned long> rounds_{0};
    std::thread thread_;
};

TEST(VcpuThrottle, GivesAPartOfWhatWasUsedAndTakesItBack)
{
    Spinner spinner;
    auto throttle = VcpuThrottle::create(getpid(), {spinner.id()});
    if (!throttle)
        GTEST_SKIP() << "no control groups here: " << throttle.error().text();
    const double full = spinner.cores();
    for (const double part : {0.5, 0.8}) {
        ASSERT_TRUE((*throttle)->slow_down(part));
        EXPECT_NEAR(spinner.cores(), full * (1 - part), full * 0.15) << part;
    }
    ASSERT_TRUE((*throttle)->slow_down(0));
    EXPECT_GT(spinner.cores(), full * 0.7);
}

TEST(VcpuThrottle, LeavesNothingBehind)
{
    Spinner spinner;
    const auto groups = [&] {
        size_t found = 0;
        for (const char* root :
             {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"}) {
            std::error_code error;
            found += std::filesystem::exists(
                std::string(root) + "/drover-" + std::to_string(spinner.id()), error);
        }
        return found;
    };
    {
        auto throttle = VcpuThrottle::create(getpid(), {spinner.id()});
        if (!throttle)
            GTEST_SKIP() << "no control groups here: " << throttle.error().text();
        EXPECT_EQ(groups(), 0U) << "a guest that is not slowed has none: Drover may be killed";
        ASSERT_TRUE((*throttle)->slow_down(0.9));
        EXPECT_EQ(groups(), 1U) << "else this looks in the wrong place";
    }
    EXPECT_EQ(groups(), 0U);
    EXPECT_GT(spinner.cores(), 0.2) << "it runs free again";
}

TEST(VcpuThrottle, OfNoThreadsOrAStrangerSaysWhy)
{
    EXPECT_FALSE(VcpuThrottle::create(getpid(), {}));
    const auto none = VcpuThrottle::create(getpid(), {999'999'999});
    ASSERT_FALSE(none);
    EXPECT_FALSE(none.error().message.empty());
}

} // namespace
} // namespace drover::qemu
