// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/blockers.h"

#include <string_view>

namespace drover::qemu {

namespace {

struct Blocker {
    std::string_view sign; ///< in an option's argument, or in a command's JSON
    std::string_view why;
};

constexpr Blocker blockers[] = {
    {"vhost-user", "a vhost-user back-end writes guest RAM from another process"},
    {"vhost-vdpa", "a vDPA device writes guest RAM by itself"},
    {"vhost-vsock", "vhost-vsock cannot be moved to another host"},
    {"vfio-", "a VFIO device writes guest RAM by itself"},
    {"scsi-block", "SCSI pass-through lets the disk write guest RAM where Drover cannot see it"},
    {"scsi-generic", "SCSI pass-through lets the disk write guest RAM where Drover cannot see it"},
    {"virtio-blk-vhost", "a vhost block back-end writes guest RAM from another process"},
    {"nvme://", "QEMU's userspace NVMe driver lets the disk write guest RAM by itself"},
    {"aio=native", "aio=native reads disks into guest RAM where Drover cannot see it; use "
                   "aio=threads"},
    {"aio=io_uring", "aio=io_uring reads disks into guest RAM where Drover cannot see it; use "
                     "aio=threads"},
    {"\"aio\":\"native\"", "aio=native reads disks into guest RAM where Drover cannot see it; use "
                           "aio=threads"},
    {"\"aio\":\"io_uring\"", "aio=io_uring reads disks into guest RAM where Drover cannot see it; "
                             "use aio=threads"},
};

/// Options whose argument is free text of the user's, not for us to judge.
bool is_free_text(std::string_view option)
{
    while (option.starts_with('-'))
        option.remove_prefix(1);
    return option == "append" || option == "name" || option == "kernel" || option == "initrd" ||
           option == "pidfile" || option == "D";
}

std::string without_blanks(std::string_view text)
{
    std::string out;
    for (char c : text)
        if (c != ' ' && c != '\t' && c != '\n')
            out += c;
    return out;
}

} // namespace

std::optional<std::string> migration_blocker(const std::string& text)
{
    const std::string squeezed = without_blanks(text);
    for (const Blocker& blocker : blockers)
        if (squeezed.find(blocker.sign) != std::string::npos)
            return "this guest cannot be migrated: " + std::string(blocker.why) + " (" + text + ")";
    return std::nullopt;
}

std::optional<std::string> migration_blocker(std::span<const std::string> arguments)
{
    for (size_t i = 0; i < arguments.size(); ++i) {
        if (i > 0 && is_free_text(arguments[i - 1]))
            continue;
        if (auto blocker = migration_blocker(arguments[i]))
            return blocker;
    }
    return std::nullopt;
}

} // namespace drover::qemu
