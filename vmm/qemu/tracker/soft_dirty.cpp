// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/soft_dirty.h"

#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/standstill.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace drover {

namespace {

constexpr uint64_t soft_dirty_bit = 1ULL << 55;

/// The two files of /proc that soft-dirty tracking works through.
struct ProcFiles {
    UniqueFd pagemap;
    UniqueFd clear_refs;

    Status clear() const
    {
        if (write(clear_refs.get(), "4", 1) != 1)
            return fail_errno("clearing the soft-dirty bits (clear_refs)", errno);
        return {};
    }

    /// Calls report(page) for each soft-dirty page, counted from `address`.
    template <typename Report> Status read(uint64_t address, uint64_t pages, Report report) const
    {
        std::array<uint64_t, 8192> entries;
        for (uint64_t done = 0; done < pages;) {
            const uint64_t wanted = std::min<uint64_t>(entries.size(), pages - done);
            const auto offset = static_cast<off_t>((address / ram_page_size + done) * 8);
            const ssize_t n = pread(pagemap.get(), entries.data(), wanted * 8, offset);
            if (n <= 0)
                return fail_errno("reading the guest's pagemap", n < 0 ? errno : ESRCH);
            const auto got = static_cast<uint64_t>(n) / 8;
            for (uint64_t i = 0; i < got; ++i)
                if (entries[i] & soft_dirty_bit)
                    report(done + i);
            done += got;
        }
        return {};
    }
};

Result<ProcFiles> open_proc_files(pid_t pid)
{
    const std::string directory = "/proc/" + std::to_string(pid);
    ProcFiles files;
    files.pagemap = UniqueFd(open((directory + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
    if (!files.pagemap)
        return fail_errno("opening " + directory + "/pagemap", errno);
    files.clear_refs = UniqueFd(open((directory + "/clear_refs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!files.clear_refs)
        return fail_errno("opening " + directory + "/clear_refs", errno);
    return files;
}

class SoftDirtyTracker : public DirtyTracker {
public:
    SoftDirtyTracker(pid_t pid, ProcFiles files, std::span<const BlockMapping> blocks)
        : pid_(pid), files_(std::move(files)), blocks_(blocks)
    {
    }

    std::string_view name() const override { return "soft-dirty"; }
    bool collects_ranges() const override { return false; }
    Status start() override { return files_.clear(); }
    void stop() override {} // a page is write-protected until its next write: nothing to undo

    Status collect(size_t, uint64_t, uint64_t, PageBitmap&) override
    {
        return fail(ErrorKind::Refused, "soft-dirty tracking collects all blocks at once");
    }

    Status collect_all(std::span<PageBitmap> dirty) override
    {
        Standstill standstill(pid_);
        if (Status status = standstill.begin(); !status)
            return status;
        for (size_t i = 0; i < blocks_.size(); ++i) {
            Status status = files_.read(blocks_[i].address, blocks_[i].pages,
                                        [&](uint64_t page) { dirty[i].set(page); });
            if (!status)
                return status;
        }
        return files_.clear();
    }

private:
    pid_t pid_;
    ProcFiles files_;
    std::span<const BlockMapping> blocks_;
};

} // namespace

Result<std::unique_ptr<DirtyTracker>> make_soft_dirty_tracker(pid_t pid,
                                                              std::span<const BlockMapping> blocks)
{
    auto files = open_proc_files(pid);
    if (!files)
        return pass(files);
    return std::make_unique<SoftDirtyTracker>(pid, std::move(*files), blocks);
}

Status probe_soft_dirty()
{
    auto files = open_proc_files(getpid());
    if (!files)
        return pass(files);
    constexpr size_t pages = 2;
    void* map = mmap(nullptr, pages * ram_page_size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return fail_errno("mapping a probe page", errno);
    volatile char* memory = static_cast<char*>(map);
    memory[0] = 1;
    uint64_t before = 0;
    uint64_t after = 0;
    const auto address = reinterpret_cast<uintptr_t>(map);
    Status status = files->clear();
    if (status)
        status = files->read(address, pages, [&](uint64_t) { ++before; });
    memory[0] = 2;
    if (status)
        status = files->read(address, pages, [&](uint64_t page) { after += page == 0 ? 1 : 100; });
    munmap(map, pages * ram_page_size);
    if (!status)
        return status;
    if (before != 0 || after != 1)
        return fail(ErrorKind::System,
                    "this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
    return {};
}

} // namespace drover
