// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/throttle/cpu_quota.h"

#include "util/fd.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace drover::qemu {

namespace {

constexpr long least_quota_us = 1000; // the kernel's
constexpr long short_period_us = 10'000;
constexpr long long_period_us = 20'000;

std::vector<std::string> split(const std::string& text, char separator)
{
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);)
        parts.push_back(part);
    return parts;
}

bool lists(const std::string& commas, const std::string& word)
{
    const std::vector<std::string> parts = split(commas, ',');
    return std::find(parts.begin(), parts.end(), word) != parts.end();
}

struct Mount {
    std::string root;  ///< which part of the hierarchy is mounted
    std::string point; ///< where
};

/// proc(5), mountinfo: … root point options … - type source super-options.
std::optional<Mount> find_mount(const std::string& mountinfo, bool v2)
{
    for (const std::string& line : split(mountinfo, '\n')) {
        const std::vector<std::string> words = split(line, ' ');
        const auto dash = std::find(words.begin(), words.end(), "-");
        if (words.size() < 6 || words.end() - dash < 4)
            continue;
        const std::string& type = dash[1];
        if (v2 ? type == "cgroup2" : type == "cgroup" && lists(dash[3], "cpu"))
            return Mount{words[3], words[4]};
    }
    return std::nullopt;
}

/// The thread's group within the hierarchy: proc(5), "ID:CONTROLLERS:PATH".
std::optional<std::string> find_path(const std::string& text, bool v2)
{
    for (const std::string& line : split(text, '\n')) {
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos)
            continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (v2 ? controllers.empty() : lists(controllers, "cpu"))
            return line.substr(second + 1);
    }
    return std::nullopt;
}

std::string read_text(const std::string& path)
{
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

Status write_text(const std::string& path, const std::string& text)
{
    const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file || write(file.get(), text.data(), text.size()) < 0)
        return fail_errno("writing \"" + text + "\" to " + path, errno);
    return {};
}

class CgroupQuota : public CpuQuota {
public:
    CgroupQuota(CgroupPlace parent, std::vector<pid_t> threads)
        : parent_(std::move(parent)),
          group_(parent_.directory + "/drover-" + std::to_string(threads.front())),
          threads_(std::move(threads))
    {
    }
    CgroupQuota(const CgroupQuota&) = delete;
    CgroupQuota& operator=(const CgroupQuota&) = delete;

    ~CgroupQuota() override { remove(); }

    Status make()
    {
        if (mkdir(group_.c_str(), 0755) < 0 && errno != EEXIST)
            return fail_errno("making the control group " + group_, errno);
        made_ = true;
        if (!parent_.v2)
            return {};
        if (Status threaded = write_text(group_ + "/cgroup.type", "threaded"); !threaded)
            return threaded;
        return write_text(parent_.directory + "/cgroup.subtree_control", "+cpu");
    }

    Status bound(double cores) override
    {
        if (!made_)
            if (Status made = make(); !made)
                return made;
        const QuotaAndPeriod value = quota_for(cores);
        const std::string quota = std::to_string(value.quota_us);
        const std::string period = std::to_string(value.period_us);
        if (parent_.v2) {
            if (Status set = write_text(group_ + "/cpu.max", quota + " " + period); !set)
                return set;
        } else {
            // In this order: the quota may not exceed what the parent allows in the new period.
            for (const auto& [file, text] :
                 {std::pair("/cpu.cfs_quota_us", std::string("-1")),
                  std::pair("/cpu.cfs_period_us", period), std::pair("/cpu.cfs_quota_us", quota)})
                if (Status set = write_text(group_ + file, text); !set)
                    return set;
        }
        if (inside_)
            return {};
        inside_ = true;
        for (const pid_t thread : threads_)
            if (Status moved = write_text(group_ + threads_file(), std::to_string(thread)); !moved)
                return moved;
        return {};
    }

    void lift() override { remove(); }

private:
    void remove()
    {
        // The bound first: a thread that cannot be moved back runs free all the same.
        if (made_)
            (void)(parent_.v2 ? write_text(group_ + "/cpu.max", "max")
                              : write_text(group_ + "/cpu.cfs_quota_us", "-1"));
        if (std::exchange(inside_, false))
            for (const pid_t thread : threads_)
                (void)write_text(parent_.directory + threads_file(), std::to_string(thread));
        if (std::exchange(made_, false))
            rmdir(group_.c_str());
    }

    [[nodiscard]] const char* threads_file() const
    {
        return parent_.v2 ? "/cgroup.threads" : "/tasks";
    }

    CgroupPlace parent_;
    std::string group_;
    std::vector<pid_t> threads_;
    bool made_ = false;
    bool inside_ = false;
};

} // namespace

QuotaAndPeriod quota_for(double cores)
{
    const double wanted = static_cast<double>(least_quota_us) / std::max(cores, 1e-6);
    const long period = std::clamp(static_cast<long>(std::ceil(std::min(wanted, 1e9))),
                                   short_period_us, long_period_us);
    return {std::max(least_quota_us, std::lround(cores * static_cast<double>(period))), period};
}

Result<CgroupPlace> find_cpu_cgroup(const std::string& cgroup_text,
                                    const std::string& mountinfo_text)
{
    for (const bool v2 : {false, true}) {
        const auto path = find_path(cgroup_text, v2);
        const auto mount = find_mount(mountinfo_text, v2);
        if (!path || !mount)
            continue;
        // In a container the mount's root is a part of the path, or the path is below the root.
        std::string below = *path;
        if (mount->root != "/" && below.starts_with(mount->root))
            below = below.substr(mount->root.size());
        while (below.ends_with('/'))
            below.pop_back();
        return CgroupPlace{mount->point + below, v2};
    }
    return fail(ErrorKind::System, "no control group of the controller cpu is mounted",
                "mount cgroup2, or cgroup with the controller cpu");
}

Result<CgroupPlace> cpu_cgroup_of(pid_t process, pid_t thread)
{
    return find_cpu_cgroup(read_text("/proc/" + std::to_string(process) + "/task/" +
                                     std::to_string(thread) + "/cgroup"),
                           read_text("/proc/self/mountinfo"));
}

Result<std::unique_ptr<CpuQuota>> CpuQuota::create(CgroupPlace place, std::vector<pid_t> threads)
{
    auto quota = std::make_unique<CgroupQuota>(std::move(place), std::move(threads));
    if (Status made = quota->make(); !made)
        return pass(made);
    // It works. Until it is needed there is none: who is killed takes nothing away with him.
    quota->lift();
    return quota;
}

} // namespace drover::qemu
