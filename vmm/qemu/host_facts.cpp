// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/host_facts.h"

#include "accel/kvm/probe.h"
#include "util/fd.h"
#include "vmm/qemu/default_memory.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <linux/magic.h>
#include <string>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

namespace drover::qemu {

namespace {

bool can_execute(const std::string& path)
{
    struct stat info {};
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
           access(path.c_str(), X_OK) == 0;
}

bool runs_now(const std::string& path)
{
    struct stat own {};
    struct stat other {};
    return stat("/proc/self/exe", &own) == 0 && stat(path.c_str(), &other) == 0 &&
           own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

PathKind kind_of(const std::string& path)
{
    struct stat info {};
    if (stat(path.c_str(), &info) < 0)
        return PathKind::Missing;
    if (S_ISREG(info.st_mode))
        return PathKind::File;
    return S_ISDIR(info.st_mode) ? PathKind::Directory : PathKind::Other;
}

/// Where the file system cannot tell (hugetlbfs), a file that has a size counts as data.
bool has_data(const std::string& path)
{
    const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file)
        return errno != ENOENT; // what cannot be looked at may hold anything
    return lseek(file.get(), 0, SEEK_DATA) >= 0 || errno != ENXIO;
}

bool is_hugetlbfs(const std::string& directory)
{
    struct statfs info {};
    return statfs(directory.empty() ? "." : directory.c_str(), &info) == 0 &&
           info.f_type == HUGETLBFS_MAGIC;
}

KvmFact ask_kvm()
{
    const auto speed = kvm::probe_kvm();
    if (!speed)
        return {false, speed.error().text()};
    if (speed->usable())
        return {true, {}};
    const double millions = speed->instructions_per_second / 1e6;
    return {false,
            "it runs only about " + std::to_string(millions).substr(0, 4) +
                " million instructions a second here: it is emulated",
            true};
}

} // namespace

HostFacts HostFacts::of_this_host()
{
    HostFacts facts;
    const char* path = std::getenv("PATH");
    facts.search_path = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
    facts.is_executable = can_execute;
    facts.is_own_executable = runs_now;
    facts.path_kind = kind_of;
    facts.read_file = [](const std::string& name) -> std::optional<std::string> {
        auto text = drover::read_file(name);
        return text ? std::optional(std::move(*text)) : std::nullopt;
    };
    facts.default_memory = ask_default_memory;
    facts.holds_data = has_data;
    facts.has_huge_pages = is_hugetlbfs;
    facts.kvm = ask_kvm;
    return facts;
}

} // namespace drover::qemu
