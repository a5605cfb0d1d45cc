// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/blockers.h"

#include "vmm/qemu/host_facts.h"

#include <string_view>

namespace drover::qemu {

namespace {

struct Blocker {
    std::string_view sign; ///< how a value begins, or a whole KEY=VALUE
    std::string_view why;
};

constexpr Blocker blockers[] = {
    {"vhost-user", "a vhost-user back-end writes guest RAM from another process"},
    {"vhost-vdpa", "a vDPA device writes guest RAM by itself"},
    {"vhost-vsock", "vhost-vsock cannot be moved to another host"},
    {"vfio-", "a VFIO device writes guest RAM by itself"},
    {"scsi-block", "SCSI pass-through lets the disk write guest RAM where Drover cannot see it"},
    {"scsi-generic", "SCSI pass-through lets the disk write guest RAM where Drover cannot see it"},
    {"virtio-blk-vfio", "a VFIO block back-end writes guest RAM by itself"},
    {"nvme-io_uring", "an NVMe pass-through lets the disk write guest RAM by itself"},
    {"virtio-blk-vhost", "a vhost block back-end writes guest RAM from another process"},
    {"nvme://", "QEMU's userspace NVMe driver lets the disk write guest RAM by itself"},
    {"aio=native", "aio=native reads disks into guest RAM where Drover cannot see it; use "
                   "aio=threads"},
    {"aio=io_uring", "aio=io_uring reads disks into guest RAM where Drover cannot see it; use "
                     "aio=threads"},
};

/// Options whose argument is free text of the user's, not for us to judge.
bool is_free_text(std::string_view option)
{
    while (option.starts_with('-'))
        option.remove_prefix(1);
    return option == "append" || option == "name" || option == "kernel" || option == "initrd" ||
           option == "pidfile" || option == "D";
}

/// "a,b=c" for all of: a command line's option, JSON, and the lines of a configuration file.
std::string normalised(std::string_view text)
{
    std::string out;
    for (const char c : text)
        if (c == '\n' || c == '{' || c == '[')
            out += ',';
        else if (c == ':' && out.ends_with('"')) // JSON's; others belong to a value
            out.back() = '=';
        else if (c != ' ' && c != '\t' && c != '\r')
            out += c;
    std::erase(out, '"');
    return out;
}

/// A file may be called /srv/vfio-test.img: only the beginning of a key or of a value counts.
bool has_sign(const std::string& text, std::string_view sign)
{
    for (size_t at = text.find(sign); at != std::string::npos; at = text.find(sign, at + 1))
        if (at == 0 || text[at - 1] == ',' || text[at - 1] == '=' || text[at - 1] == '.')
            return true;
    return false;
}

/// QEMU's own NVMe driver, as a block node: -device nvme, an emulated disk, has no namespace=.
bool is_nvme_node(const std::string& options)
{
    constexpr std::string_view driver = "driver=nvme";
    const size_t end = options.find(driver) + driver.size();
    return has_sign(options, driver) && has_sign(options, "namespace=") &&
           (end == options.size() || options[end] == ',' || options[end] == '}');
}

} // namespace

std::optional<std::string> migration_blocker(const std::string& text)
{
    const std::string options = normalised(text);
    if (is_nvme_node(options))
        return "this guest cannot be migrated: QEMU's userspace NVMe driver lets the disk write "
               "guest RAM by itself (" +
               text + ")";
    for (const Blocker& blocker : blockers)
        if (has_sign(options, blocker.sign))
            return "this guest cannot be migrated: " + std::string(blocker.why) + " (" + text + ")";
    return std::nullopt;
}

std::optional<std::string> migration_blocker(std::span<const std::string> arguments,
                                             const HostFacts& host)
{
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string_view option = i > 0 ? arguments[i - 1] : std::string_view();
        if (is_free_text(option))
            continue;
        auto blocker = migration_blocker(arguments[i]);
        if (!blocker && option.ends_with("-readconfig") &&
            host.path_kind(arguments[i]) == PathKind::File)
            if (const auto file = host.read_file(arguments[i]); file && migration_blocker(*file))
                blocker = "-readconfig " + arguments[i] + ": " + *migration_blocker(*file);
        if (blocker)
            return blocker;
    }
    return std::nullopt;
}

} // namespace drover::qemu
