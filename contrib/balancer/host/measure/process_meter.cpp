// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/process_meter.h"

#include "contrib/balancer/host/measure/words.h"

#include <algorithm>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace drover::balancer::measure {

namespace {

/// The number in "socket:[NUMBER]".
std::optional<uint64_t> socket_inode(std::string_view link)
{
    const std::string_view head = "socket:[";
    if (!link.starts_with(head) || !link.ends_with(']'))
        return std::nullopt;
    return to_number<uint64_t>(link.substr(head.size(), link.size() - head.size() - 1));
}

/// Of hugetlbfs: never swapped.
bool is_huge(int dir, const std::string& name)
{
    struct statfs system = {};
    const std::string path = "/proc/self/fd/" + std::to_string(dir) + "/" + name;
    return statfs(path.c_str(), &system) == 0 && system.f_type == HUGETLBFS_MAGIC;
}

/// What schedules a thread of the process whose directory is `dir`.
std::string group_of(int dir, int thread, ReadBuffer& buffer)
{
    ProcFile file(dir, ("task/" + std::to_string(thread) + "/cgroup").c_str());
    const auto text = file.read(buffer);
    return text ? parse_cpu_group(*text) : std::string();
}

} // namespace

ProcessMeter::ProcessMeter(const std::string& root, pid_t pid)
    : pid_(pid), dir_(open((root + "/proc/" + std::to_string(pid)).c_str(),
                           O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
      stat_(dir_.get(), "stat"), status_(dir_.get(), "status")
{
}

std::optional<ProcessMeter::Usage> ProcessMeter::sample(double elapsed, ReadBuffer& buffer)
{
    static const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const auto text = stat_.read(buffer);
    const auto stat = text ? parse_process_stat(*text) : std::nullopt;
    if (!stat)
        return std::nullopt;
    Usage usage;
    usage.cpu = cpu_ticks_.rate(stat->cpu_ticks, elapsed) / ticks;
    if (const auto status = status_.read(buffer))
        usage.memory = parse_process_status(*status).value_or(ProcessMemory());
    if (stat->threads != threads_seen_ && has_schedstat_) {
        look_for_threads(buffer);
        threads_seen_ = stat->threads;
    }
    sample_threads(usage, elapsed, buffer);
    usage.memfds = memfd_bytes();
    return usage;
}

void ProcessMeter::look_for_threads(ReadBuffer& buffer)
{
    std::vector<int> ids = numbered_entries(dir_.get(), "task");
    // The first ones: main loop and vCPUs are made before workers.
    ids.resize(std::min(ids.size(), max_threads));
    std::erase_if(threads_, [&](const auto& thread) {
        return !std::binary_search(ids.begin(), ids.end(), thread.first);
    });
    for (const int id : ids) {
        if (threads_.contains(id))
            continue;
        const std::string name = "task/" + std::to_string(id) + "/schedstat";
        threads_.emplace(id, Thread{ProcFile(dir_.get(), name.c_str()),
                                    {},
                                    {},
                                    looked_ && marks_new_,
                                    group_of(dir_.get(), id, buffer)});
    }
    looked_ = true;
}

void ProcessMeter::mark_new_threads(bool on)
{
    if (marks_new_ && !on)
        for (auto& [id, thread] : threads_)
            thread.is_new = false;
    marks_new_ = on;
}

void ProcessMeter::sample_threads(Usage& usage, double elapsed, ReadBuffer& buffer)
{
    for (auto it = threads_.begin(); it != threads_.end();) {
        Thread& thread = it->second;
        const auto text = thread.file.read(buffer);
        const auto times = text ? parse_schedstat(*text) : std::nullopt;
        if (!times) {
            it = threads_.erase(it);
            threads_seen_ = 0; // it ended, and another may have come: looked for next time
            continue;
        }
        usage.threads.push_back({.run = thread.run_ns.rate(times->run_ns, elapsed) / 1e9,
                                 .wait = thread.wait_ns.rate(times->wait_ns, elapsed) / 1e9,
                                 .is_new = thread.is_new,
                                 .group = thread.group});
        ++it;
    }
    has_schedstat_ = !usage.threads.empty(); // else the kernel has none, or the process is ending
}

void ProcessMeter::look_around(ReadBuffer& buffer)
{
    look_for_descriptors();
    for (auto& [id, thread] : threads_)
        thread.group = group_of(dir_.get(), id, buffer);
}

void ProcessMeter::look_for_descriptors()
{
    constexpr size_t max_memfds = 64;
    memfds_.clear();
    sockets_.clear();
    std::vector<std::pair<dev_t, ino_t>> seen; // one memfd may have several descriptors
    for (const int fd : numbered_entries(dir_.get(), "fd")) {
        const std::string name = "fd/" + std::to_string(fd);
        char target[64];
        const ssize_t n = readlinkat(dir_.get(), name.c_str(), target, sizeof target);
        const std::string_view link(target, static_cast<size_t>(std::max<ssize_t>(n, 0)));
        if (const auto inode = socket_inode(link))
            sockets_.push_back(*inode);
        struct stat file = {};
        if (!link.starts_with("/memfd:") || memfds_.size() >= max_memfds ||
            fstatat(dir_.get(), name.c_str(), &file, 0) < 0 || is_huge(dir_.get(), name))
            continue;
        const std::pair id(file.st_dev, file.st_ino);
        if (std::find(seen.begin(), seen.end(), id) == seen.end()) {
            seen.push_back(id);
            memfds_.push_back(name);
        }
    }
}

uint64_t ProcessMeter::memfd_bytes() const
{
    uint64_t bytes = 0;
    for (const std::string& name : memfds_) {
        struct stat file = {};
        if (fstatat(dir_.get(), name.c_str(), &file, 0) == 0)
            bytes += static_cast<uint64_t>(file.st_blocks) * 512;
    }
    return bytes;
}

void ProcessTree::scan(ReadBuffer& buffer)
{
    children_.clear();
    const UniqueFd proc(open((root_ + "/proc").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!proc)
        return;
    for (const int pid : numbered_entries(proc.get(), ".")) {
        ProcFile file(proc.get(), (std::to_string(pid) + "/stat").c_str());
        const auto text = file.read(buffer);
        if (const auto stat = text ? parse_process_stat(*text) : std::nullopt)
            children_.emplace(stat->parent, pid);
    }
}

std::vector<pid_t> ProcessTree::family(pid_t pid) const
{
    constexpr size_t max_family = 64;
    std::vector<pid_t> family = {pid};
    for (size_t i = 0; i < family.size() && family.size() < max_family; ++i) {
        const auto [begin, end] = children_.equal_range(family[i]);
        for (auto it = begin; it != end && family.size() < max_family; ++it) {
            // Numbers are read one after another: one that was given anew could close a circle.
            if (std::find(family.begin(), family.end(), it->second) == family.end())
                family.push_back(it->second);
        }
    }
    return family;
}

} // namespace drover::balancer::measure
