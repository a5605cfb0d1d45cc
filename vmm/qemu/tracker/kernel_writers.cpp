// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/kernel_writers.h"

#include <cstdio>
#include <filesystem>
#include <sys/utsname.h>
#include <vector>

namespace drover {

namespace {

bool has_kernel_threads_of_its_own(std::string_view release)
{
    unsigned major = 0;
    unsigned minor = 0;
    if (sscanf(std::string(release).c_str(), "%u.%u", &major, &minor) != 2)
        return true; // unknown: the worse case
    return major < 6 || (major == 6 && minor < 4);
}

Result<std::vector<std::string>> open_files_of(pid_t pid)
{
    namespace fs = std::filesystem;
    const fs::path directory = "/proc/" + std::to_string(pid) + "/fd";
    std::vector<std::string> files;
    std::error_code error;
    fs::directory_iterator at(directory, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
        std::error_code closed; // one that is closed meanwhile is none
        files.push_back(fs::read_symlink(at->path(), closed).string());
    }
    if (error)
        return fail(ErrorKind::System, "looking at QEMU's open files in " + directory.string() +
                                           ": " + error.message());
    return files;
}

} // namespace

std::optional<std::string> unstoppable_writer(std::span<const std::string> open_files,
                                              std::string_view kernel_release)
{
    if (!has_kernel_threads_of_its_own(kernel_release))
        return std::nullopt;
    for (const std::string& file : open_files)
        if (file.starts_with("/dev/vhost-"))
            return file;
    return std::nullopt;
}

Status check_stops_as_a_whole(pid_t pid)
{
    utsname kernel{};
    if (uname(&kernel) < 0)
        return fail(ErrorKind::System, "the kernel does not tell its release");
    auto files = open_files_of(pid);
    if (!files)
        return pass(files);
    if (const auto writer = unstoppable_writer(*files, kernel.release))
        return fail(ErrorKind::Refused,
                    "this guest cannot be migrated on Linux " + std::string(kernel.release) +
                        ": QEMU uses " + *writer +
                        ", whose kernel thread writes guest RAM where this kernel's dirty "
                        "tracking (soft-dirty) does not see it",
                    "Linux 6.7 or newer sees it; or use the device without vhost (vhost=off)");
    return {};
}

} // namespace drover
