// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/disk_permission.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <sys/stat.h>

namespace drover::xen {

namespace {

std::optional<std::string> without_links(const std::string& path)
{
    char* resolved = realpath(path.c_str(), nullptr);
    if (resolved == nullptr)
        return std::nullopt;
    std::string text = resolved;
    free(resolved);
    return text;
}

bool lies_within(const std::string& file, const std::string& allowed)
{
    if (file == allowed || allowed == "/")
        return true;
    return file.starts_with(allowed) && file[allowed.size()] == '/';
}

} // namespace

Result<std::string> permitted_disk(const std::string& path, std::span<const std::string> allowed)
{
    bool is_allowed = false;
    const auto file = without_links(path);
    for (const std::string& each : allowed)
        if (const auto directory = without_links(each); file && directory)
            is_allowed = is_allowed || lies_within(*file, *directory);
    // Whether a file exists outside of them is not the source's business.
    if (!is_allowed)
        return fail(ErrorKind::Refused,
                    "the guest's disk " + path +
                        " is in no directory from which this host takes disks, or is not there",
                    "allow its directory at the destination: -disks DIRECTORY; or give it the "
                    "guest's configuration: -config FILE");
    if (!std::ranges::all_of(*file, [](char c) { return c >= ' ' && c <= '~'; }))
        return fail(ErrorKind::Refused, "the guest's disk " + path +
                                            " is behind a path that is "
                                            "no plain text");
    struct stat facts {};
    if (stat(file->c_str(), &facts) < 0)
        return fail_errno("looking at the guest's disk " + path, errno);
    if (!S_ISREG(facts.st_mode) && !S_ISBLK(facts.st_mode))
        return fail(ErrorKind::Refused,
                    "the guest's disk " + path + " is no file and no block device");
    return *file;
}

} // namespace drover::xen
