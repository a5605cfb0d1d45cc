// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/cpu_quota.h"

#include "contrib/balancer/host/measure/cgroup.h"
#include "contrib/balancer/host/measure/words.h"

#include <algorithm>
#include <unistd.h>

namespace drover::balancer::measure {

namespace {

/// Whether "cpu" is in a list such as "cpu,cpuacct".
bool schedules(std::string_view controllers)
{
    while (!controllers.empty()) {
        const size_t end = controllers.find(',');
        if (controllers.substr(0, end) == "cpu")
            return true;
        controllers.remove_prefix(end == controllers.npos ? controllers.size() : end + 1);
    }
    return false;
}

bool is_within(std::string_view group, std::string_view above)
{
    return group.starts_with(above) && (group.size() == above.size() || group[above.size()] == '/');
}

/// What a quota's exhaustion made the group's threads wait is taken from their waiting.
void take_off(std::span<ThreadUse> threads, std::string_view group, double throttled)
{
    double waited = 0;
    for (const ThreadUse& thread : threads)
        waited += is_within(thread.group, group) ? thread.wait : 0;
    const double left = waited > 0 ? std::max(0.0, 1 - throttled / waited) : 1;
    for (ThreadUse& thread : threads)
        if (is_within(thread.group, group))
            thread.wait *= left;
}

/// Its threads cannot have missed more than the quota leaves. (The kernel counts a throttled
/// processor once, however many threads wait there: so some of that waiting is left.)
void bound(std::span<ThreadUse> threads, std::string_view group, double quota)
{
    double ran = 0;
    double missed = 0;
    for (const ThreadUse& thread : threads) {
        if (!is_within(thread.group, group))
            continue;
        ran += thread.run;
        missed += thread.missed;
    }
    const double room = std::max(0.0, quota - ran);
    if (missed <= room)
        return;
    for (ThreadUse& thread : threads)
        if (is_within(thread.group, group))
            thread.missed *= room / missed;
}

} // namespace

double unmet_share(double run, double wait)
{
    const double left = std::max(1 - run, 0.0);
    return wait >= 1 ? left : std::min(left, run * wait / (1 - wait));
}

std::string parse_cpu_group(std::string_view text)
{
    std::string_view found;
    while (!text.empty()) {
        std::string_view line = take_line(text);
        const size_t colon = line.find(':');
        const size_t second = colon == line.npos ? line.npos : line.find(':', colon + 1);
        if (second == line.npos)
            continue;
        const std::string_view controllers = line.substr(colon + 1, second - colon - 1);
        const bool v1 = schedules(controllers);
        if (v1 || (controllers.empty() && found.empty()))
            found = line.substr(second + 1);
        if (v1)
            break;
    }
    found.remove_prefix(std::min(found.find_first_not_of('/'), found.size()));
    // Above the namespace's root is nothing that can be looked at.
    return found.starts_with("..") ? std::string() : std::string(found);
}

std::optional<double> parse_cpu_max(std::string_view text)
{
    std::string_view line = take_line(text);
    const std::string_view quota = take_word(line);
    return parse_cfs_quota(quota, take_word(line));
}

std::optional<double> parse_cfs_quota(std::string_view quota, std::string_view period)
{
    const auto part = to_number<uint64_t>(take_line(quota));
    const auto whole = to_number<uint64_t>(take_line(period));
    if (!part || !whole || *whole == 0)
        return std::nullopt;
    return static_cast<double>(*part) / static_cast<double>(*whole);
}

CpuQuotas::CpuQuotas(const std::string& root, std::string host) : host_(std::move(host))
{
    const std::string mounted = root + "/sys/fs/cgroup/";
    v2_ = access((mounted + "cgroup.controllers").c_str(), F_OK) == 0;
    top_ = v2_ ? mounted : mounted + "cpu/";
}

void CpuQuotas::limit(std::span<ThreadUse> threads, double elapsed, ReadBuffer& buffer)
{
    follow(threads, buffer);
    // A name is shorter than those below it, and sorts before them: the innermost come first.
    for (auto it = groups_.rbegin(); it != groups_.rend(); ++it) {
        if (!it->second.quota)
            continue;
        read_throttled(it->second, elapsed, buffer);
        take_off(threads, it->first, it->second.throttled);
    }
    for (ThreadUse& thread : threads)
        thread.missed = unmet_share(thread.run, thread.wait);
    for (auto it = groups_.rbegin(); it != groups_.rend(); ++it)
        if (it->second.quota)
            bound(threads, it->first, *it->second.quota);
}

/// Knows the groups of these threads, and all above them that are not the host's.
void CpuQuotas::follow(std::span<const ThreadUse> threads, ReadBuffer& buffer)
{
    std::map<std::string, Group> now;
    for (const ThreadUse& thread : threads) {
        for (std::string name = thread.group; !name.empty() && !is_within(host_, name);
             name.resize(name.find_last_of('/') == name.npos ? 0 : name.find_last_of('/'))) {
            if (now.contains(name))
                break; // and so are those above
            const auto known = groups_.find(name);
            Group& group = now[name];
            if (known != groups_.end())
                group = std::move(known->second);
            if (look_ || known == groups_.end())
                read_quota(name, group, buffer);
        }
    }
    groups_ = std::move(now);
    look_ = false;
}

void CpuQuotas::read_quota(const std::string& name, Group& group, ReadBuffer& buffer) const
{
    const std::string directory = top_ + name;
    group.stat = ProcFile(directory + "/cpu.stat");
    group.quota.reset();
    if (v2_) {
        if (const auto text = ProcFile(directory + "/cpu.max").read(buffer))
            group.quota = parse_cpu_max(*text);
        return;
    }
    const auto quota = ProcFile(directory + "/cpu.cfs_quota_us").read(buffer);
    const std::string part(quota.value_or(""));
    if (const auto period = ProcFile(directory + "/cpu.cfs_period_us").read(buffer))
        group.quota = parse_cfs_quota(part, *period);
}

void CpuQuotas::read_throttled(Group& group, double elapsed, ReadBuffer& buffer) const
{
    CgroupUsage usage;
    if (const auto text = group.stat.read(buffer))
        v2_ ? parse_cpu_stat(*text, usage) : parse_cpu_stat_v1(*text, usage);
    group.throttled =
        usage.throttled_ns ? group.throttled_ns.rate(*usage.throttled_ns, elapsed) / 1e9 : 0;
}

} // namespace drover::balancer::measure
