// SPDX-License-Identifier: GPL-2.0-or-later
//
// The parsers of /proc and of cgroups: golden text, text that is cut off at every byte, and text
// that no kernel writes.
#include "contrib/balancer/host/measure/cgroup.h"
#include "contrib/balancer/host/measure/counter.h"
#include "contrib/balancer/host/measure/cpu_times.h"
#include "contrib/balancer/host/measure/disk_stats.h"
#include "contrib/balancer/host/measure/memory_files.h"
#include "contrib/balancer/host/measure/moment.h"
#include "contrib/balancer/host/measure/process_files.h"
#include "tests/unit/balancer/host/measure/fixture_tree.h"

#include <fcntl.h>
#include <functional>

namespace drover::balancer::measure {

namespace {

const std::string proc_stat = "cpu  100 20 30 4000 500 6 7 80 9 1\n"
                              "cpu0 50 10 15 2000 250 3 3 40 9 1\n"
                              "cpu2 50 10 15 2000 250 3 4 40 0 0\n"
                              "intr 1 2 3\nctxt 5\n";

const std::string meminfo = "MemTotal:       16000 kB\nMemFree:         1000 kB\n"
                            "MemAvailable:    9000 kB\nBuffers: 1 kB\nSwapCached: 3 kB\n"
                            "SwapTotal:       4000 kB\nSwapFree:        3000 kB\n";

const std::string diskstats =
    "   7       0 loop0 5 0 10 1 0 0 0 0 0 1 1\n"
    "   8       0 sda 100 5 2000 400 50 6 1000 200 2 300 700 0 0 0 0 0 0\n"
    "   8       1 sda1 100 5 2000 400 50 6 1000 200 2 300 700 0 0 0 0 0 0\n"
    " 253       0 zram0 9 0 8 0 9 0 9 0 0 9 9 0 0 0 0 0 0\n"
    "   8      16 sdb 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

const std::string status = "Name:\tqemu\nVmSize:\t  900 kB\nVmRSS:\t     600 kB\n"
                           "RssAnon:\t     100 kB\nRssFile:\t      50 kB\n"
                           "RssShmem:\t     450 kB\nVmData: 7 kB\nVmSwap:\t      30 kB\n"
                           "HugetlbPages:\t    2048 kB\nThreads:\t4\n";

/// A name with all that a process may put there.
const std::string process_stat =
    "4242 (a) S 1 (b\n) c) S 77 4242 4242 0 -1 4194560 100 0 0 0 250 150 9 8 20 0 6 0 999 "
    "12345 678 18446744073709551615 1 1 0\n";

/// No parser may read beyond its text or loop, wherever it ends; what it returns is not looked at.
void cut_everywhere(const std::string& text, const std::function<void(std::string_view)>& parse)
{
    for (size_t size = 0; size <= text.size(); ++size) {
        const std::vector<char> exact(text.begin(), text.begin() + static_cast<long>(size));
        parse({exact.data(), exact.size()});
    }
}

} // namespace

TEST(MeasureFiles, ProcStat)
{
    const auto stat = parse_proc_stat(proc_stat);
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->total.busy, 163U); // guests' time is in user time, and not added again
    EXPECT_EQ(stat->total.idle, 4500U);
    EXPECT_EQ(stat->total.steal, 80U);
    ASSERT_EQ(stat->cores.size(), 2U);
    EXPECT_EQ(stat->cores[1].id, 2U);
    EXPECT_EQ(stat->cores[1].times.busy, 82U);
    EXPECT_EQ(stat->cores[1].times.steal, 40U);

    EXPECT_FALSE(parse_proc_stat(""));
    EXPECT_FALSE(parse_proc_stat("cpu 1 2 3\n"));
    EXPECT_FALSE(parse_proc_stat("cpu0 1 2 3 4 5 6 7 8\n"));
    EXPECT_FALSE(parse_proc_stat("cpu -1 2 3 4 5 6 7 8\n"));
    const auto hostile = parse_proc_stat("cpu 1 1 1 1 1 1 1 1\ncpu4294967295 1 1 1 1 1 1 1 1\n"
                                         "cpu9999 1 1 1 1 1 1 1 1\ncpux 1 1 1 1 1 1 1 1\n");
    ASSERT_TRUE(hostile);
    EXPECT_TRUE(hostile->cores.empty());
}

TEST(MeasureFiles, Meminfo)
{
    const auto info = parse_meminfo(meminfo);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->total, 16000U * 1024);
    EXPECT_EQ(info->available, 9000U * 1024);
    EXPECT_EQ(info->swap_total, 4000U * 1024);
    EXPECT_EQ(info->swap_free, 3000U * 1024);
    EXPECT_TRUE(parse_meminfo("MemTotal: 5 kB\nMemAvailable: 3 kB\n")); // built without swap
    EXPECT_FALSE(parse_meminfo("MemTotal: 5 kB\n"));
    EXPECT_FALSE(parse_meminfo("MemTotal: 99999999999999999999 kB\nMemAvailable: 3 kB\n"));
    EXPECT_FALSE(parse_meminfo("MemTotal: 18446744073709551615 kB\nMemAvailable: 3 kB\n"));
}

TEST(MeasureFiles, Vmstat)
{
    const auto swap = parse_vmstat("nr_free_pages 5\npswpin 12\npswpout 34\npgfault 9\n");
    ASSERT_TRUE(swap);
    EXPECT_EQ(swap->in, 12U);
    EXPECT_EQ(swap->out, 34U);
    EXPECT_FALSE(parse_vmstat("nr_free_pages 5\n"));
    EXPECT_FALSE(parse_vmstat("pswpin 1\npswpout x\n"));
}

TEST(MeasureFiles, PressureOfTenSeconds)
{
    const auto pressure = parse_pressure("some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n"
                                         "full avg10=2.25 avg60=1.00 avg300=0.00 total=1\n");
    ASSERT_TRUE(pressure);
    EXPECT_DOUBLE_EQ(pressure->some, 0.125);
    EXPECT_DOUBLE_EQ(pressure->full, 0.0225);
    EXPECT_EQ(parse_pressure("some avg10=1.00 avg60=0 avg300=0 total=0\n")->full, 0);
    EXPECT_EQ(parse_pressure("some avg10=900.00 total=0\n")->some, 1);
    EXPECT_EQ(parse_pressure("some avg10=-3 total=0\n")->some, 0);
    EXPECT_FALSE(parse_pressure("some avg10=nan total=0\n"));
    EXPECT_FALSE(parse_pressure("full avg10=1.00 total=0\n"));
    EXPECT_FALSE(parse_pressure(""));
}

TEST(MeasureFiles, Diskstats)
{
    const auto disks = parse_diskstats(diskstats);
    ASSERT_EQ(disks.size(), 4U); // sdb did nothing yet
    EXPECT_EQ(disks[1].name, "sda");
    EXPECT_EQ(disks[1].requests, 150U);
    EXPECT_EQ(disks[1].request_ms, 600U);
    EXPECT_EQ(disks[1].read_bytes, 2000U * 512);
    EXPECT_EQ(disks[1].written_bytes, 1000U * 512);
    EXPECT_EQ(disks[1].busy_ms, 300U);
    EXPECT_TRUE(parse_diskstats("8 0 ../../etc 1 1 1 1 1 1 1 1 1 1 1\n8 0 sda 1 2\nx\n\n").empty());
}

TEST(MeasureFiles, DiskRatesAreOfWholeDisks)
{
    const testing::FixtureTree tree;
    for (const char* disk : {"sda", "loop0", "zram0"})
        tree.put(std::string("sys/block/") + disk + "/size", "1\n");
    DiskRates rates(tree.root());
    EXPECT_EQ(rates.update(diskstats, 0).size(), 1U);
    const auto loads =
        rates.update("   8       0 sda 120 5 6000 500 60 6 3000 260 2 1300 700\n", 2);
    ASSERT_EQ(loads.size(), 1U);
    EXPECT_EQ(loads[0].name, "sda");
    EXPECT_DOUBLE_EQ(loads[0].read, 4000.0 * 512 / 2);
    EXPECT_DOUBLE_EQ(loads[0].write, 2000.0 * 512 / 2);
    EXPECT_DOUBLE_EQ(loads[0].latency, 160 / 30.0 / 1e3);
    EXPECT_DOUBLE_EQ(loads[0].busy, 0.5);
    // A disk that was plugged anew counts from 0.
    const auto anew = rates.update("8 0 sda 1 0 8 1 0 0 0 0 0 1 1\n", 1);
    EXPECT_EQ(anew[0].read, 0);
    EXPECT_EQ(anew[0].latency, 0);
}

TEST(MeasureFiles, ProcessStatWhateverTheName)
{
    const auto stat = parse_process_stat(process_stat);
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->parent, 77);
    EXPECT_EQ(stat->cpu_ticks, 400U);
    EXPECT_EQ(stat->threads, 6U);
    EXPECT_FALSE(parse_process_stat("1 (x) S 1 2 3"));
    EXPECT_FALSE(parse_process_stat("no parentheses"));
    EXPECT_FALSE(parse_process_stat(""));
}

TEST(MeasureFiles, ProcessStatus)
{
    const auto memory = parse_process_status(status);
    ASSERT_TRUE(memory);
    EXPECT_EQ(memory->own, 100U * 1024);
    EXPECT_EQ(memory->shared, 450U * 1024);
    EXPECT_EQ(memory->swapped, 30U * 1024);
    EXPECT_EQ(memory->huge, 2048U * 1024);
    EXPECT_FALSE(parse_process_status("Name:\tkthreadd\nThreads:\t1\n"));
    EXPECT_FALSE(parse_process_status("RssAnon:\t18446744073709551615 kB\n"));
}

TEST(MeasureFiles, Schedstat)
{
    const auto times = parse_schedstat("123456 7890 12\n");
    ASSERT_TRUE(times);
    EXPECT_EQ(times->run_ns, 123456U);
    EXPECT_EQ(times->wait_ns, 7890U);
    EXPECT_FALSE(parse_schedstat("123\n"));
    EXPECT_FALSE(parse_schedstat(""));
}

TEST(MeasureFiles, CgroupFiles)
{
    CgroupUsage usage;
    parse_cpu_stat("usage_usec 5000\nuser_usec 1\nnr_throttled 3\nthrottled_usec 70\n", usage);
    EXPECT_EQ(usage.cpu_ns, 5000000U);
    EXPECT_EQ(usage.throttled_ns, 70000U);
    parse_memory_stat("anon 100\nfile 9000\nkernel 7\nshmem 20\npswpin 3\npswpout 4\n", usage);
    EXPECT_EQ(usage.memory, 127U); // a file's cache can be had back
    EXPECT_EQ(usage.swapped_in, 3U);
    EXPECT_EQ(usage.swapped_out, 4U);

    CgroupUsage old;
    parse_cpu_stat_v1("nr_periods 1\nthrottled_time 99\n", old);
    parse_memory_stat_v1("rss 1\ntotal_rss 50\ntotal_shmem 5\ntotal_swap 8\n", old);
    EXPECT_EQ(old.throttled_ns, 99U);
    EXPECT_EQ(old.memory, 55U);
    EXPECT_EQ(old.swap, 8U);

    EXPECT_EQ(parse_bytes("4096\n"), 4096U);
    EXPECT_FALSE(parse_bytes("max\n"));
    EXPECT_FALSE(parse_bytes("9223372036854771712\n"));
    CgroupUsage hostile;
    parse_cpu_stat("usage_usec 18446744073709551615\nthrottled_usec -1\n\n \n", hostile);
    EXPECT_FALSE(hostile.cpu_ns);
    EXPECT_FALSE(hostile.throttled_ns);
}

TEST(MeasureFiles, CutOffAnywhere)
{
    cut_everywhere(proc_stat, [](auto text) { (void)parse_proc_stat(text); });
    cut_everywhere(meminfo, [](auto text) { (void)parse_meminfo(text); });
    cut_everywhere(diskstats, [](auto text) { (void)parse_diskstats(text); });
    cut_everywhere(status, [](auto text) { (void)parse_process_status(text); });
    cut_everywhere(process_stat, [](auto text) { (void)parse_process_stat(text); });
    cut_everywhere("some avg10=1.00 x\nfull avg10=2.00\n",
                   [](auto text) { (void)parse_pressure(text); });
}

TEST(MeasureFiles, CgroupsOfBothVersions)
{
    const testing::FixtureTree v2;
    v2.put("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    v2.put("sys/fs/cgroup/d/cpu.stat", "usage_usec 1\nthrottled_usec 2\n");
    v2.put("sys/fs/cgroup/d/memory.stat", "anon 10\nshmem 5\n");
    v2.put("sys/fs/cgroup/d/memory.max", "100\n");
    v2.put("sys/fs/cgroup/d/memory.swap.current", "7\n");
    v2.put("sys/fs/cgroup/d/io.pressure", "some avg10=50.00 avg60=0 avg300=0 total=0\n");
    ReadBuffer buffer;
    Cgroup group(v2.root(), "d");
    const CgroupUsage usage = group.read(buffer);
    EXPECT_EQ(usage.cpu_ns, 1000U);
    EXPECT_EQ(usage.memory, 15U);
    EXPECT_EQ(usage.memory_limit, 100U);
    EXPECT_EQ(usage.swap, 7U);
    EXPECT_FALSE(usage.swapped_out);
    EXPECT_EQ(group.pressure("io", buffer)->some, 0.5);
    EXPECT_FALSE(group.pressure("cpu", buffer));

    const testing::FixtureTree v1;
    v1.put("sys/fs/cgroup/cpu/d/cpu.stat", "throttled_time 2\n");
    v1.put("sys/fs/cgroup/cpuacct/d/cpuacct.usage", "33\n");
    v1.put("sys/fs/cgroup/memory/d/memory.stat", "total_rss 10\ntotal_swap 4\n");
    v1.put("sys/fs/cgroup/memory/d/memory.limit_in_bytes", "100\n");
    Cgroup old(v1.root(), "d");
    const CgroupUsage old_usage = old.read(buffer);
    EXPECT_EQ(old_usage.cpu_ns, 33U);
    EXPECT_EQ(old_usage.throttled_ns, 2U);
    EXPECT_EQ(old_usage.memory_limit, 100U);
    EXPECT_EQ(old_usage.swap, 4U);

    Cgroup none(v1.root(), "nobody");
    EXPECT_FALSE(none.read(buffer).cpu_ns);
}

TEST(MeasureFiles, AFileIsReadAnewEachTime)
{
    const testing::FixtureTree tree;
    ReadBuffer buffer;
    ProcFile file(tree.root() + "/x");
    EXPECT_FALSE(file.read(buffer));
    tree.put("x", "one");
    EXPECT_EQ(file.read(buffer), "one");
    tree.put("x", std::string(100000, 'y'));
    EXPECT_EQ(file.read(buffer), std::string(100000, 'y'));
    tree.put("x", "");
    EXPECT_EQ(file.read(buffer), "");
    tree.put("x", std::string((4 << 20) + 1, 'z'));
    EXPECT_FALSE(file.read(buffer));
}

TEST(MeasureFiles, CountersThatShrink)
{
    Counter counter;
    EXPECT_EQ(counter.grow(100), 0U);
    EXPECT_EQ(counter.grow(130), 30U);
    EXPECT_EQ(counter.grow(10), 0U); // wrapped, or made anew
    EXPECT_EQ(counter.rate(30, 2), 10);
    EXPECT_EQ(counter.rate(60, 0), 0);

    Elapsed elapsed;
    const TimePoint start(std::chrono::seconds(5));
    EXPECT_EQ(elapsed.step(start), 0);
    EXPECT_EQ(elapsed.step(start), 0);
    EXPECT_EQ(elapsed.step(start + std::chrono::seconds(3)), 3);
}

} // namespace drover::balancer::measure
