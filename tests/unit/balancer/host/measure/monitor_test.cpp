// SPDX-License-Identifier: GPL-2.0-or-later
//
// The monitors on a tree of files, where every number is known.
#include "contrib/balancer/host/measure/load_monitor.h"
#include "tests/unit/balancer/host/measure/fixture_tree.h"

#include <unistd.h>

namespace drover::balancer {

namespace {

using testing::FixtureTree;

/// Seconds since the first sample; the wall clock stands still and jumps as it likes.
Moment moment(double seconds, double utc = 1.7e9)
{
    const auto since = std::chrono::duration_cast<Clock::duration>(Duration(1000 + seconds));
    return {TimePoint(since), utc};
}

/// What one clock tick a second is, in cores.
double tick()
{
    return 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void put_process(const FixtureTree& tree, int pid, int parent, int cpu_ticks, int threads = 1)
{
    const std::string dir = "proc/" + std::to_string(pid);
    tree.put(dir + "/stat", std::to_string(pid) + " (qemu) S " + std::to_string(parent) +
                                " 1 1 0 -1 0 0 0 0 0 " + std::to_string(cpu_ticks) +
                                " 0 0 0 20 0 " + std::to_string(threads) + " 0 999 1 1\n");
}

void put_wait(const FixtureTree& tree, int pid, int thread, uint64_t wait_ns, uint64_t run_ns = 5)
{
    tree.put("proc/" + std::to_string(pid) + "/task/" + std::to_string(thread) + "/schedstat",
             std::to_string(run_ns) + " " + std::to_string(wait_ns) + " 1\n");
}

void put_memory(const FixtureTree& tree, int pid, int own_kib, int shared_kib, int swap_kib)
{
    tree.put("proc/" + std::to_string(pid) + "/status",
             "RssAnon: " + std::to_string(own_kib) + " kB\nRssFile: 0 kB\nRssShmem: " +
                 std::to_string(shared_kib) + " kB\nVmSwap: " + std::to_string(swap_kib) + " kB\n");
}

void put_host(const FixtureTree& tree, int busy, int steal, int pages_in, int pages_out)
{
    const std::string half = std::to_string(busy / 2) + " 0 0 100 0 0 0 " + std::to_string(steal);
    tree.put("proc/stat", "cpu  " + std::to_string(busy) + " 0 0 200 0 0 0 " +
                              std::to_string(steal) + "\ncpu0 " + half + "\ncpu3 " + half + "\n");
    tree.put("proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 3000 kB\nSwapTotal: 2000 kB\n"
                             "SwapFree: 1500 kB\n");
    tree.put("proc/vmstat", "pswpin " + std::to_string(pages_in) + "\npswpout " +
                                std::to_string(pages_out) + "\n");
    tree.put("proc/diskstats", "8 0 sda 1 0 8 1 0 0 0 0 0 1 1\n");
    tree.put("sys/block/sda/size", "1\n");
}

double page()
{
    return static_cast<double>(sysconf(_SC_PAGESIZE));
}

bool has_gap(const std::vector<std::string>& gaps, const char* text)
{
    return std::any_of(gaps.begin(), gaps.end(),
                       [&](const std::string& gap) { return gap.find(text) != gap.npos; });
}

} // namespace

TEST(HostMonitor, MeasuresTheMachine)
{
    const FixtureTree tree;
    put_host(tree, 1000, 100, 10, 20);
    tree.put("proc/pressure/cpu", "some avg10=25.00 avg60=0 avg300=0 total=0\n");
    // Its network is that of the machine where the test runs, of which nothing is known.
    LoadMonitor monitor({.root = tree.root(), .nics = {{"lo", 1e6}}});
    monitor.sample(moment(0));
    EXPECT_EQ(monitor.host().cpu_busy, 0); // no rates yet
    EXPECT_EQ(monitor.host().memory_total, 8000 * 1024);

    put_host(tree, 1240, 130, 14, 28);
    monitor.sample(moment(2, 12345));
    const HostLoad& host = monitor.host();
    EXPECT_EQ(host.time, 12345);
    EXPECT_FALSE(host.slice);
    EXPECT_EQ(host.cores, 2);
    EXPECT_DOUBLE_EQ(host.cpu_busy, 120 * tick());
    EXPECT_DOUBLE_EQ(host.cpu_steal, 15 * tick());
    ASSERT_EQ(host.cpu_by_core.size(), 4U); // 1 and 2 are offline
    EXPECT_EQ(host.cpu_by_core[1], 0);
    EXPECT_DOUBLE_EQ(host.cpu_by_core[3], 60 * tick());
    EXPECT_EQ(host.memory_available, 3000 * 1024);
    EXPECT_EQ(host.swap_total, 2000 * 1024);
    EXPECT_EQ(host.swap_used, 500 * 1024);
    EXPECT_DOUBLE_EQ(host.swap_in, 2 * page());
    EXPECT_DOUBLE_EQ(host.swap_out, 4 * page());
    EXPECT_EQ(host.cpu_pressure.some, 0.25);
    ASSERT_EQ(host.disks.size(), 1U);
    EXPECT_TRUE(host.gaps.empty()) << host.gaps.front();
}

TEST(HostMonitor, CountersThatShrinkAndClocksThatJump)
{
    const FixtureTree tree;
    put_host(tree, 1000, 100, 10, 20);
    LoadMonitor monitor({.root = tree.root()});
    monitor.sample(moment(0, 2e9));
    put_host(tree, 50, 5, 1, 2);
    monitor.sample(moment(1, 1e9)); // the wall clock went back 30 years
    EXPECT_EQ(monitor.host().cpu_busy, 0);
    EXPECT_EQ(monitor.host().swap_out, 0);
    put_host(tree, 100, 5, 1, 2);
    monitor.sample(moment(2, 3e9));
    EXPECT_DOUBLE_EQ(monitor.host().cpu_busy, 50 * tick());
    EXPECT_EQ(monitor.host_history(10).size(), 3U);
    monitor.sample(moment(2, 3e9)); // twice at once
    EXPECT_EQ(monitor.host().cpu_busy, 0);
}

/// A pool that was set apart is no memory that others could have, used or not.
TEST(HostMonitor, HugePagesAreApart)
{
    const FixtureTree tree;
    put_host(tree, 0, 0, 0, 0);
    const std::string pools = "sys/kernel/mm/hugepages/";
    tree.put(pools + "hugepages-1024kB/nr_hugepages", "3\n");
    tree.put(pools + "hugepages-1024kB/free_hugepages", "2\n");
    tree.put(pools + "hugepages-1024kB/resv_hugepages", "1\n");
    tree.put(pools + "hugepages-64kB/nr_hugepages", "10\n");
    tree.put(pools + "hugepages-64kB/free_hugepages", "10\n");
    tree.put(pools + "hugepages-64kB/resv_hugepages", "0\n");
    put_process(tree, 100, 1, 0);
    tree.put("proc/100/status", "RssAnon: 60 kB\nRssFile: 0 kB\nRssShmem: 40 kB\nVmSwap: 0 kB\n"
                                "HugetlbPages: 1024 kB\n");
    LoadMonitor monitor({.root = tree.root()});
    monitor.add({.name = "web", .pid = 100});
    monitor.sample(moment(0));
    const HostLoad& host = monitor.host();
    EXPECT_EQ(host.huge_total, (3 * 1024 + 640) * 1024);
    EXPECT_EQ(host.huge_free, (1024 + 640) * 1024);
    EXPECT_EQ(host.memory_total, (8000 - 3 * 1024 - 640) * 1024);
    EXPECT_EQ(monitor.vms()[0].resident, 100 * 1024);
    EXPECT_EQ(monitor.vms()[0].huge, 1024 * 1024);
}

TEST(HostMonitor, SaysWhatItCannotSee)
{
    const FixtureTree tree;
    LoadMonitor monitor({.root = tree.root(), .nics = {{"nobody0", 1e6}}});
    monitor.sample(moment(0));
    for (const char* gap : {"/proc/stat", "/proc/meminfo", "pressure", "nobody0", "diskstats"})
        EXPECT_TRUE(has_gap(monitor.host().gaps, gap)) << gap;
    put_host(tree, 1, 1, 1, 1); // it comes later
    monitor.sample(moment(1));
    EXPECT_FALSE(has_gap(monitor.host().gaps, "/proc/stat"));
}

TEST(VmMonitor, SumsTheEmulatorAndItsChildren)
{
    const FixtureTree tree;
    put_host(tree, 0, 0, 0, 0);
    put_process(tree, 1, 0, 99999);
    put_process(tree, 100, 1, 10, 2);
    put_process(tree, 101, 100, 500, 1);
    put_process(tree, 200, 1, 7777);
    put_wait(tree, 100, 100, 0);
    put_wait(tree, 100, 102, 1000);
    put_wait(tree, 101, 101, 0);
    put_memory(tree, 100, 10, 3000, 1);
    put_memory(tree, 101, 50, 4000, 6);
    LoadMonitor monitor({.root = tree.root()});
    VmMonitor& vm = monitor.add({.name = "web", .pid = 100});
    vm.set_vcpus(2);
    vm.set_memory(5e6);
    vm.set_dirty_rate(7);
    monitor.sample(moment(0));
    put_process(tree, 100, 1, 30, 2);
    put_process(tree, 101, 100, 600, 1);
    put_wait(tree, 100, 102, 1000 + 500000000, 5 + 1500000000);
    put_wait(tree, 101, 101, 1500000000, 5 + 500000000);
    monitor.sample(moment(2));
    ASSERT_EQ(monitor.vms().size(), 1U);
    const VmLoad& load = monitor.vms()[0];
    EXPECT_EQ(load.name, "web");
    EXPECT_DOUBLE_EQ(load.cpu, 60 * tick());
    EXPECT_DOUBLE_EQ(load.cpu_wait, 1);
    // The guest's memory, which both map, is there once.
    EXPECT_EQ(load.resident, (60 + 4000) * 1024);
    EXPECT_EQ(load.swapped, 7 * 1024);
    EXPECT_EQ(load.vcpus, 2U);
    EXPECT_EQ(load.memory, 5e6);
    EXPECT_EQ(load.dirty_rate, 7);
    EXPECT_TRUE(load.gaps.empty());
}

TEST(CpuQuotas, CountsOfAWaitWhatIsMissedByIt)
{
    EXPECT_DOUBLE_EQ(measure::unmet_share(0.25, 0.75), 0.75) << "it always wanted to run";
    EXPECT_DOUBLE_EQ(measure::unmet_share(0, 1), 1) << "it starved";
    EXPECT_DOUBLE_EQ(measure::unmet_share(0.3, 0.4), 0.2)
        << "it slept 0.3: alone, half of its time";
    EXPECT_DOUBLE_EQ(measure::unmet_share(0.5, 0), 0);
    EXPECT_NEAR(measure::unmet_share(0.01, 0.3), 0.004, 0.001)
        << "a timer that is late misses little";
    EXPECT_DOUBLE_EQ(measure::unmet_share(0.9, 0.9), 0.1) << "never more than all of its time";
}

TEST(VmMonitor, ThreadsAndChildrenComeAndGo)
{
    const FixtureTree tree;
    put_host(tree, 0, 0, 0, 0);
    put_process(tree, 100, 1, 0, 1);
    put_wait(tree, 100, 100, 0);
    LoadMonitor monitor({.root = tree.root()});
    monitor.add({.name = "web", .pid = 100});
    monitor.sample(moment(0));
    // A thread and a child that waited and worked for years before we saw them.
    put_wait(tree, 100, 107, 1000000000000);
    put_process(tree, 100, 1, 0, 2);
    put_process(tree, 300, 100, 1000000, 1);
    monitor.sample(moment(1));
    EXPECT_EQ(monitor.vms()[0].cpu, 0);
    EXPECT_EQ(monitor.vms()[0].cpu_wait, 0);
    put_wait(tree, 100, 107, 1000000000000 + 250000000, 5 + 750000000);
    put_process(tree, 300, 100, 1000040, 1);
    monitor.sample(moment(2));
    EXPECT_DOUBLE_EQ(monitor.vms()[0].cpu, 40 * tick());
    EXPECT_DOUBLE_EQ(monitor.vms()[0].cpu_wait, 0.25);
    EXPECT_FALSE(monitor.find("web")->is_gone());
    monitor.remove("web");
    monitor.sample(moment(3));
    EXPECT_TRUE(monitor.vms().empty());
    EXPECT_TRUE(monitor.vm_history("web", 10).empty());
}

/// Of a guest's emulator (100), whose migration's thread (107) comes later, and of its child (300).
TEST(VmMonitor, TellsAMigrationsWorkApart)
{
    const struct {
        MigrationWork work;
        double migrating;
        double wait;
    } cases[] = {{MigrationWork::None, 0, 1.2},
                 {MigrationWork::Threads, 0.3, 0.5},
                 {MigrationWork::Companion, 20 * tick(), 0.95},
                 {MigrationWork::All, 60 * tick(), 0}};
    for (const auto& expected : cases) {
        const FixtureTree tree;
        put_host(tree, 0, 0, 0, 0);
        put_process(tree, 100, 1, 0, 1);
        put_wait(tree, 100, 100, 0);
        put_process(tree, 300, 100, 0, 1);
        put_wait(tree, 300, 300, 0);
        LoadMonitor monitor({.root = tree.root()});
        VmMonitor& vm = monitor.add({.name = "web", .pid = 100});
        monitor.sample(moment(0));
        vm.set_migration(expected.work);
        put_process(tree, 100, 1, 0, 2);
        put_wait(tree, 100, 107, 0);
        monitor.sample(moment(1));
        put_process(tree, 100, 1, 40, 2);
        put_process(tree, 300, 100, 20, 1);
        put_wait(tree, 100, 100, 250000000, 5 + 750000000);
        put_wait(tree, 100, 107, 700000000, 5 + 300000000);
        put_wait(tree, 300, 300, 250000000, 5 + 750000000);
        monitor.sample(moment(2));
        const VmLoad& load = monitor.vms()[0];
        EXPECT_DOUBLE_EQ(load.cpu, 60 * tick());
        EXPECT_DOUBLE_EQ(load.cpu_migrating, expected.migrating);
        EXPECT_DOUBLE_EQ(monitor.host().cpu_migrating, expected.migrating);
        EXPECT_NEAR(load.cpu_wait, expected.wait, 1e-6);
    }
}

/// A guest with two threads in the group `group` (a line of /proc/PID/task/TID/cgroup); each runs
/// 0.15 of a second and could have run the rest of it.
VmLoad load_of_a_guest_in(const FixtureTree& tree, const char* group, const char* host_group = "")
{
    const auto put = [&](uint64_t seconds) {
        for (const int thread : {100, 101})
            put_wait(tree, 100, thread, seconds * 850000000, 5 + seconds * 150000000);
    };
    put_host(tree, 0, 0, 0, 0);
    put_process(tree, 100, 1, 0, 2);
    for (const char* thread : {"100", "101"})
        tree.put(std::string("proc/100/task/") + thread + "/cgroup", group);
    put(0);
    LoadMonitor monitor({.root = tree.root(), .cgroup = host_group});
    monitor.add({.name = "web", .pid = 100});
    monitor.sample(moment(0));
    put(1);
    for (const char* stat :
         {"sys/fs/cgroup/vms/web/cpu.stat", "sys/fs/cgroup/cpu/vms/web/cpu.stat"})
        if (std::filesystem::exists(tree.root() + "/" + stat))
            tree.put(stat,
                     "usage_usec 300000\nthrottled_usec 1500000\nthrottled_time 1500000000\n");
    monitor.sample(moment(1));
    return monitor.vms()[0];
}

TEST(VmMonitor, AQuotaIsNoWantOfProcessors)
{
    const struct {
        const char* max;
        double wait;
    } cases[] = {{"max 100000\n", 1.7},
                 {"30000 100000\n", 0},     // it has used all of it
                 {"40000 100000\n", 0.033}, // 0.2 of what it waited was no throttling
                 {"400000 100000\n", 0.033}};
    for (const auto& expected : cases) {
        const FixtureTree tree;
        tree.put("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
        tree.put("sys/fs/cgroup/vms/web/cpu.max", expected.max);
        tree.put("sys/fs/cgroup/vms/web/cpu.stat", "throttled_usec 0\n");
        EXPECT_NEAR(load_of_a_guest_in(tree, "0::/vms/web\n").cpu_wait, expected.wait, 0.02)
            << expected.max;
    }
}

TEST(VmMonitor, QuotasOfVersion1AndOfGroupsAboveCount)
{
    const FixtureTree tree;
    tree.put("sys/fs/cgroup/cpu/vms/cpu.cfs_quota_us", "50000\n");
    tree.put("sys/fs/cgroup/cpu/vms/cpu.cfs_period_us", "100000\n");
    tree.put("sys/fs/cgroup/cpu/vms/web/cpu.cfs_quota_us", "-1\n");
    tree.put("sys/fs/cgroup/cpu/vms/web/cpu.cfs_period_us", "100000\n");
    const char* group = "5:memory:/\n4:cpuset:/\n3:cpu,cpuacct:/vms/web\n0::/elsewhere\n";
    EXPECT_NEAR(load_of_a_guest_in(tree, group).cpu_wait, 0.2, 1e-6);
    // What stands for the host is bounded by the host's capacity: the guest does lack it.
    EXPECT_NEAR(load_of_a_guest_in(tree, group, "vms").cpu_wait, 1.7, 1e-6);
}

TEST(CpuQuotas, FilesAreRead)
{
    using namespace measure;
    EXPECT_EQ(parse_cpu_group("3:cpu,cpuacct:/a/b\n0::/c\n"), "a/b");
    EXPECT_EQ(parse_cpu_group("4:cpuset:/x\n3:cpuacct:/y\n0::/c/d\n"), "c/d");
    EXPECT_EQ(parse_cpu_group("0::/\n"), "");
    EXPECT_EQ(parse_cpu_group("0::/../other\n"), "");
    EXPECT_EQ(parse_cpu_group("nonsense"), "");
    EXPECT_EQ(parse_cpu_max("max 100000\n"), std::nullopt);
    EXPECT_EQ(parse_cpu_max("150000 100000\n"), 1.5);
    EXPECT_EQ(parse_cpu_max("1 0\n"), std::nullopt);
    EXPECT_EQ(parse_cfs_quota("-1\n", "100000\n"), std::nullopt);
    EXPECT_EQ(parse_cfs_quota("25000\n", "50000\n"), 0.5);
}

TEST(VmMonitor, SaysThatItIsGone)
{
    const FixtureTree tree;
    LoadMonitor monitor({.root = tree.root()});
    const VmMonitor& vm = monitor.add({.name = "web", .pid = 100});
    monitor.sample(moment(0));
    EXPECT_TRUE(vm.is_gone());
    EXPECT_TRUE(has_gap(monitor.vms()[0].gaps, "has ended"));
    put_process(tree, 100, 1, 500); // the number is given to another
    monitor.sample(moment(1));
    EXPECT_TRUE(vm.is_gone());
    EXPECT_TRUE(has_gap(monitor.vms()[0].gaps, "has ended"));
}

TEST(VmMonitor, DiskRatesHoldBetweenAnswers)
{
    const FixtureTree tree;
    put_process(tree, 100, 1, 0);
    LoadMonitor monitor({.root = tree.root()});
    VmMonitor& vm = monitor.add({.name = "web", .pid = 100});
    vm.set_disk_counters(1000, 1000, moment(0).at);
    vm.set_disk_counters(6000, 11000, moment(5).at);
    monitor.sample(moment(6));
    EXPECT_DOUBLE_EQ(monitor.vms()[0].disk_read, 1000);
    EXPECT_DOUBLE_EQ(monitor.vms()[0].disk_write, 2000);
    vm.set_disk_counters(5, 5, moment(10).at); // a disk was taken away
    monitor.sample(moment(11));
    EXPECT_EQ(monitor.vms()[0].disk_read, 0);
}

TEST(VmMonitor, SaysWhichTrafficItCannotSee)
{
    const FixtureTree tree;
    put_process(tree, 100, 1, 0);
    LoadMonitor monitor({.root = tree.root()});
    monitor.add({.name = "web",
                 .pid = 100,
                 .nics = {{.id = "net0", .ifname = "no-such-tap", .expected = 5},
                          {.id = "net1", .expected = 6}}});
    monitor.sample(moment(0));
    const VmLoad& load = monitor.vms()[0];
    ASSERT_EQ(load.nics.size(), 2U);
    EXPECT_EQ(load.nics[1].expected, 6);
    EXPECT_FALSE(load.nics[0].wants_more);
    EXPECT_TRUE(has_gap(load.gaps, "net0: there is no interface no-such-tap"));
    EXPECT_TRUE(has_gap(load.gaps, "net1: "));
}

TEST(HostMonitor, ASliceIsWhatItsGuestsUse)
{
    const FixtureTree tree;
    put_host(tree, 0, 0, 0, 0);
    for (const int pid : {100, 200}) {
        put_process(tree, pid, 1, 0);
        put_wait(tree, pid, pid, 0);
        put_memory(tree, pid, 1000, 0, 0);
    }
    LoadMonitor monitor(
        {.root = tree.root(), .slice = Slice{.cores = 1.5, .memory = 3000 * 1024, .link = 1e6}});
    monitor.add({.name = "a", .pid = 100});
    monitor.add({.name = "b", .pid = 200});
    monitor.sample(moment(0));
    put_host(tree, 400, 50, 9, 9); // the machine is busy with other things
    put_process(tree, 100, 1, 30);
    put_process(tree, 200, 1, 10);
    put_wait(tree, 200, 200, 500000000, 5 + 500000000);
    put_memory(tree, 100, 900, 0, 100);
    monitor.sample(moment(1));
    const HostLoad& host = monitor.host();
    EXPECT_TRUE(host.slice);
    EXPECT_EQ(host.cores, 1.5);
    EXPECT_DOUBLE_EQ(host.cpu_busy, 40 * tick());
    EXPECT_DOUBLE_EQ(host.cpu_steal, 0.5);
    EXPECT_TRUE(host.cpu_by_core.empty());
    EXPECT_EQ(host.memory_total, 3000 * 1024);
    EXPECT_EQ(host.memory_available, 1000 * 1024);
    EXPECT_EQ(host.swap_used, 100 * 1024);
    EXPECT_EQ(host.swap_out, 100 * 1024); // by growth
    EXPECT_EQ(host.swap_in, 0);
    ASSERT_EQ(host.nics.size(), 1U);
    EXPECT_EQ(host.nics[0].capacity, 1e6);
    put_memory(tree, 100, 950, 0, 50);
    monitor.sample(moment(2));
    EXPECT_EQ(monitor.host().swap_out, 0);
    EXPECT_EQ(monitor.host().swap_in, 50 * 1024);
    EXPECT_TRUE(has_gap(monitor.host().gaps, "no pressure"));
}

TEST(HostMonitor, ASliceThatACgroupEnforces)
{
    const FixtureTree tree;
    put_host(tree, 0, 0, 0, 0);
    put_process(tree, 100, 1, 0);
    tree.put("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    tree.put("sys/fs/cgroup/d/memory.max", "8192000\n");
    tree.put("sys/fs/cgroup/d/memory.swap.current", "1000\n");
    tree.put("sys/fs/cgroup/d/cpu.stat", "usage_usec 1000\nthrottled_usec 500\n");
    tree.put("sys/fs/cgroup/d/memory.stat", "anon 4000000\nfile 1000000\npswpin 1\npswpout 2\n");
    tree.put("sys/fs/cgroup/d/memory.pressure", "some avg10=10.00 avg60=0 avg300=0 total=0\n");
    tree.put("sys/fs/cgroup/d/cpu.pressure", "some avg10=20.00 avg60=0 avg300=0 total=0\n");
    LoadMonitor monitor(
        {.root = tree.root(), .slice = Slice{.cores = 1}, .cgroup = "d", .nics = {}});
    monitor.add({.name = "a", .pid = 100});
    monitor.sample(moment(0));
    tree.put("sys/fs/cgroup/d/cpu.stat", "usage_usec 1501000\nthrottled_usec 400500\n");
    tree.put("sys/fs/cgroup/d/memory.stat", "anon 4000000\nfile 1000000\npswpin 5\npswpout 12\n");
    monitor.sample(moment(2));
    const HostLoad& host = monitor.host();
    EXPECT_DOUBLE_EQ(host.cpu_busy, 0.75);
    EXPECT_DOUBLE_EQ(host.cpu_steal, 0.2);
    EXPECT_EQ(host.memory_total, 8192000);
    EXPECT_EQ(host.memory_available, 8192000 - 4000000 - 1000);
    EXPECT_EQ(host.swap_used, 1000);
    EXPECT_DOUBLE_EQ(host.swap_in, 2 * page());
    EXPECT_DOUBLE_EQ(host.swap_out, 5 * page());
    EXPECT_EQ(host.cpu_pressure.some, 0.2);
    EXPECT_EQ(host.memory_pressure.some, 0.1);
}

} // namespace drover::balancer
