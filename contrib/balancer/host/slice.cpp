// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/slice.h"

#include "util/fd.h"

#include <cerrno>
#include <cmath>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

/// A tenth of a second is the kernel's default period; a quota is a part of it.
constexpr int period_us = 100'000;

Status write_file(const std::string& path, const std::string& text)
{
    const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno("opening " + path, errno);
    if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return fail_errno("writing " + text + " to " + path, errno);
    return {};
}

Status make_group(const std::string& path)
{
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
        return fail_errno("making the control group " + path, errno);
    return {};
}

bool exists(const std::string& path)
{
    return access(path.c_str(), F_OK) == 0;
}

std::string whole(double value)
{
    return std::to_string(std::llround(value));
}

/// The files of a bound: what is written where, in order.
struct Bound {
    const char* name; ///< "cores", "memory"
    std::string group;
    std::vector<std::pair<std::string, std::string>> writes;
};

void enforce(const Bound& bound, SliceGroup& slice)
{
    Status done = make_group(bound.group);
    for (const auto& [file, text] : bound.writes)
        if (done)
            done = write_file(bound.group + "/" + file, text);
    if (!done) {
        slice.gaps.push_back(std::string(bound.name) +
                             " of the slice: measured, not enforced: " + done.error().text());
        return;
    }
    slice.enforced.emplace_back(bound.name);
    const std::string procs = bound.group + "/cgroup.procs";
    if (slice.procs.empty() || slice.procs.back() != procs)
        slice.procs.push_back(procs);
}

} // namespace

SliceGroup make_slice_group(const DroverdConfig& config, const std::string& root)
{
    SliceGroup slice;
    if (!config.slice.given)
        return slice;
    slice.cgroup = config.slice.cgroup.empty() ? "drover-" + config.name : config.slice.cgroup;
    const std::string base = root + "sys/fs/cgroup";
    const bool v2 = exists(base + "/cgroup.controllers");
    if (v2) // the root group's children may use these controllers only if it says so
        (void)write_file(base + "/cgroup.subtree_control", "+cpu +memory");
    const std::string quota = whole(config.slice.cores * period_us);
    const std::string period = std::to_string(period_us);
    Bound cores{"cores", base + (v2 ? "/" : "/cpu/") + slice.cgroup, {}};
    if (v2)
        cores.writes = {{"cpu.max", quota + " " + period}};
    else
        cores.writes = {{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", quota}};
    Bound memory{"memory", base + (v2 ? "/" : "/memory/") + slice.cgroup, {}};
    memory.writes = {{v2 ? "memory.max" : "memory.limit_in_bytes", whole(config.slice.memory)}};
    if (config.slice.cores > 0)
        enforce(cores, slice);
    if (!v2 && make_group(base + "/cpuacct/" + slice.cgroup)) // measures what the other bounds
        slice.procs.push_back(base + "/cpuacct/" + slice.cgroup + "/cgroup.procs");
    if (config.slice.memory > 0)
        enforce(memory, slice);
    if (slice.enforced.empty())
        slice.cgroup.clear();
    return slice;
}

} // namespace drover::balancer
