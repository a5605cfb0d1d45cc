// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/userfault_hold.h"

#include "util/log.h"
#include "util/loop.h"
#include "vmm/qemu/tracker/holding.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <vector>

namespace drover {

namespace {

constexpr uint64_t present_bit = 1ULL << 63; // of an entry of /proc/PID/pagemap
constexpr uint64_t looked_at = 512;          // pages at once

uffdio_range range_of(const BlockMapping& mapping)
{
    return {mapping.address, mapping.pages * ram_page_size};
}

class UserfaultHold : public PageHold {
public:
    UserfaultHold(UniqueFd pagemap, std::span<const RamBlock> ram,
                  std::span<const BlockMapping> mappings)
        : pagemap_(std::move(pagemap)), ram_(ram), mappings_(mappings)
    {
    }
    ~UserfaultHold() override = default; // the last close of the descriptors lets everybody go

    Status start(std::span<const PageBitmap> absent,
                 std::function<void(size_t, uint64_t)> touched) override;
    Status let_go(size_t block, uint64_t first, uint64_t count) override;
    Status let_go_zero(size_t block, uint64_t page) override;
    void stop() override;

private:
    [[nodiscard]] Status hold(const BlockMapping& mapping);
    [[nodiscard]] Status unmap(size_t block, const PageBitmap& absent);
    void read_faults(size_t block);

    UniqueFd pagemap_;
    std::span<const RamBlock> ram_;
    std::span<const BlockMapping> mappings_;
    std::function<void(size_t, uint64_t)> touched_;
    std::vector<loop::Source> watches_;
};

Status UserfaultHold::start(std::span<const PageBitmap> absent,
                            std::function<void(size_t, uint64_t)> touched)
{
    touched_ = std::move(touched);
    for (size_t block = 0; block < mappings_.size(); ++block) {
        if (Status held = hold(mappings_[block]); !held)
            return held;
        if (Status clean = unmap(block, absent[block]); !clean)
            return clean;
        watches_.push_back(loop::watch(mappings_[block].holding.get(), G_IO_IN,
                                       [this, block](GIOCondition) { read_faults(block); }));
    }
    return {};
}

/// A mapping has one userfaultfd: the one that tracks writes makes room. No tracker is at work.
Status UserfaultHold::hold(const BlockMapping& mapping)
{
    uffdio_range range = range_of(mapping);
    if (mapping.userfaultfd)
        ioctl(mapping.userfaultfd.get(), UFFDIO_UNREGISTER, &range);
    uffdio_register held{};
    held.range = range;
    held.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR;
    if (ioctl(mapping.holding.get(), UFFDIO_REGISTER, &held) < 0)
        return fail_errno("holding accesses to guest RAM (UFFDIO_REGISTER)", errno);
    return {};
}

/// A page that the process had touched before stays in its page tables, and would be seen as it is,
/// without a fault. Punching it out of the file takes it out of them.
Status UserfaultHold::unmap(size_t block, const PageBitmap& absent)
{
    std::array<uint64_t, looked_at> entries;
    for (uint64_t page = absent.next_set(0, absent.size()); page < absent.size();
         page = absent.next_set(page, absent.size())) {
        const uint64_t count = std::min(looked_at, absent.size() - page);
        const uint64_t at = mappings_[block].address / ram_page_size + page;
        const auto wanted = static_cast<ssize_t>(count * sizeof(uint64_t));
        if (pread(pagemap_.get(), entries.data(), static_cast<size_t>(wanted),
                  static_cast<off_t>(at * sizeof(uint64_t))) != wanted)
            return fail(ErrorKind::Machine, "QEMU's page tables cannot be read",
                        "has QEMU died? Its own words are above");
        const auto is_stale = [&](uint64_t i) {
            return (entries[i] & present_bit) && absent.test(page + i);
        };
        for (uint64_t first = 0; first < count; ++first) {
            uint64_t end = first;
            while (end < count && is_stale(end))
                ++end;
            if (end == first)
                continue;
            Status gone = discard_ram(ram_[block], (page + first) * ram_page_size,
                                      (end - first) * ram_page_size);
            if (!gone)
                return gone;
            first = end;
        }
        page += count;
    }
    return {};
}

void UserfaultHold::read_faults(size_t block)
{
    const BlockMapping& mapping = mappings_[block];
    std::array<uffd_msg, 16> messages;
    const ssize_t n = read(mapping.holding.get(), messages.data(), sizeof messages);
    for (size_t i = 0; n > 0 && i < static_cast<size_t>(n) / sizeof(uffd_msg); ++i) {
        const uint64_t address = messages[i].arg.pagefault.address;
        if (messages[i].event != UFFD_EVENT_PAGEFAULT || address < mapping.address ||
            address - mapping.address >= mapping.pages * ram_page_size)
            continue;
        touched_(block, (address - mapping.address) / ram_page_size);
    }
}

Status UserfaultHold::let_go(size_t block, uint64_t first, uint64_t count)
{
    const BlockMapping& mapping = mappings_[block];
    uint64_t at = mapping.address + first * ram_page_size;
    const uint64_t end = at + count * ram_page_size;
    while (at < end) { // ESRCH: the process has died, and its exit says more
        uffdio_continue go{};
        go.range = {at, end - at};
        if (ioctl(mapping.holding.get(), UFFDIO_CONTINUE, &go) == 0)
            return {};
        const int error = errno;
        if (error == ESRCH)
            return {};
        if (go.mapped > 0)
            at += static_cast<uint64_t>(go.mapped);
        else if (error == EEXIST || error == EFAULT) // it is let go already; it is a hole
            at += ram_page_size;
        else if (error != EAGAIN && error != EINTR)
            return fail_errno("letting an access to guest RAM go on (UFFDIO_CONTINUE)", error);
    }
    return {};
}

Status UserfaultHold::let_go_zero(size_t block, uint64_t page)
{
    const BlockMapping& mapping = mappings_[block];
    for (;;) {
        uffdio_zeropage zero{};
        zero.range = {mapping.address + page * ram_page_size, ram_page_size};
        if (ioctl(mapping.holding.get(), UFFDIO_ZEROPAGE, &zero) == 0)
            return {};
        if (errno == ESRCH)
            return {};
        if (errno == EEXIST) { // whoever waits for it may have come after it was let go
            ioctl(mapping.holding.get(), UFFDIO_WAKE, &zero.range);
            return {};
        }
        if (errno != EAGAIN && errno != EINTR)
            return fail_errno("letting an access to guest RAM go on (UFFDIO_ZEROPAGE)", errno);
    }
}

void UserfaultHold::stop()
{
    if (watches_.empty())
        return;
    watches_.clear();
    for (const BlockMapping& mapping : mappings_) {
        uffdio_range range = range_of(mapping);
        ioctl(mapping.holding.get(), UFFDIO_UNREGISTER, &range); // wakes all; fails if QEMU is dead
        if (!mapping.userfaultfd)
            continue;
        uffdio_register tracked{};
        tracked.range = range;
        tracked.mode = UFFDIO_REGISTER_MODE_WP;
        ioctl(mapping.userfaultfd.get(), UFFDIO_REGISTER, &tracked);
    }
}

Status check_block(const RamBlock& block, const BlockMapping& mapping)
{
    auto features = enable_holding(mapping);
    if (!features)
        return pass(features);
    if (!(*features & UFFD_FEATURE_MINOR_SHMEM))
        return fail(ErrorKind::System, "this kernel cannot hold accesses to shared memory",
                    "Linux 5.14 can");
    struct statfs system {};
    if (block.backing_page != ram_page_size)
        return fail(ErrorKind::Refused, "RAM in huge pages has no post-copy yet", "");
    if (fstatfs(block.file.get(), &system) < 0 || system.f_type != TMPFS_MAGIC)
        return fail(ErrorKind::Refused,
                    "the RAM block " + block.name +
                        " is a file of a disk, where accesses cannot be held",
                    "put it on a tmpfs such as /dev/shm");
    return {};
}

} // namespace

Result<std::unique_ptr<PageHold>> make_userfault_hold(pid_t pid, std::span<const RamBlock> ram,
                                                      std::span<const BlockMapping> mappings)
{
    for (size_t i = 0; i < mappings.size(); ++i)
        if (Status fits = check_block(ram[i], mappings[i]); !fits)
            return pass(fits);
    const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
    UniqueFd pagemap(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!pagemap)
        return fail_errno("opening " + path, errno);
    return std::make_unique<UserfaultHold>(std::move(pagemap), ram, mappings);
}

} // namespace drover
