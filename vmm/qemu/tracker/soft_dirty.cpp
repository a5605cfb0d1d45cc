// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/soft_dirty.h"

#include "util/log.h"
#include "vmm/qemu/tracker/kernel_abi.h"
#include "vmm/qemu/tracker/kernel_writers.h"
#include "vmm/qemu/tracker/page_entries.h"
#include "vmm/qemu/tracker/process_handle.h"
#include "vmm/qemu/tracker/ram_witness.h"
#include "vmm/qemu/tracker/standstill.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

namespace drover {

namespace {

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
};

Result<ProcFiles> open_proc_files(const ProcessHandle& process)
{
    auto pagemap = process.open_file("pagemap", O_RDONLY);
    auto clear_refs = process.open_file("clear_refs", O_WRONLY);
    if (!pagemap || !clear_refs)
        return pagemap ? pass(clear_refs) : pass(pagemap);
    return ProcFiles{std::move(*pagemap), std::move(*clear_refs)};
}

/// A look at a page by the process itself, as far as the kernel can tell: it is in its page table
/// afterwards, if it can be.
class Toucher {
public:
    explicit Toucher(pid_t pid) : pid_(pid) {}
    ~Toucher() { flush(); }
    Toucher(const Toucher&) = delete;
    Toucher& operator=(const Toucher&) = delete;

    void touch(uint64_t address)
    {
        pages_[count_++] = {reinterpret_cast<void*>(address), 1};
        if (count_ == pages_.size())
            flush();
    }

private:
    void flush()
    {
        std::array<char, max_pages> bytes;
        const iovec into{bytes.data(), bytes.size()};
        for (size_t at = 0; at < count_;) {
            const ssize_t read = process_vm_readv(pid_, &into, 1, &pages_[at], count_ - at, 0);
            at += read > 0 ? static_cast<size_t>(read) : 1; // one that cannot be had is passed over
        }
        count_ = 0;
    }

    static constexpr size_t max_pages = 1024; // IOV_MAX
    pid_t pid_;
    std::array<iovec, max_pages> pages_;
    size_t count_ = 0;
};

bool shared_memory_may_be_huge()
{
    auto setting = read_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    return setting && !setting->contains("[never]") && !setting->contains("[deny]");
}

class SoftDirtyTracker : public DirtyTracker {
public:
    SoftDirtyTracker(ProcessHandle process, ProcFiles files, std::span<const BlockMapping> blocks,
                     std::vector<RamWitness> witnesses)
        : process_(std::move(process)), files_(std::move(files)), blocks_(blocks),
          witnesses_(std::move(witnesses))
    {
        for (const BlockMapping& block : blocks_)
            absent_.emplace_back(block.pages);
    }

    std::string_view name() const override { return "soft-dirty"; }
    Status can_start() const override { return check_stops_as_a_whole(process_.pid()); }
    bool collects_ranges() const override { return false; }
    bool is_coarse(size_t) const override { return huge_; }
    Status start() override;
    void stop() override {} // a page is write-protected until its next write: nothing to undo

    Status collect(size_t, uint64_t, uint64_t, PageBitmap&) override
    {
        return fail(ErrorKind::Refused, "soft-dirty tracking collects all blocks at once");
    }
    Status collect_all(std::span<PageBitmap> dirty) override;

private:
    Status look(std::span<PageBitmap> dirty, std::vector<PageBitmap>& lacking) const;
    void bring_back(size_t index) const;

    ProcessHandle process_;
    ProcFiles files_;
    std::span<const BlockMapping> blocks_;
    std::vector<RamWitness> witnesses_; ///< one a block
    /// Pages with data that were lacking in a page table when it was last looked at: until the next
    /// look anything may have been done to them unseen.
    std::vector<PageBitmap> absent_;
    bool warned_ = false;
    bool huge_ = shared_memory_may_be_huge(); ///< there is one bit for all of a huge page
};

/// What is in the page tables from before the bits are cleared on is watched; what is not will be
/// found lacking by the first collection.
Status SoftDirtyTracker::start()
{
    if (Status can = can_start(); !can)
        return can;
    warned_ = false;
    for (size_t i = 0; i < blocks_.size(); ++i) {
        PageBitmap& data = absent_[i];
        data = PageBitmap(blocks_[i].pages);
        Status walked =
            for_each_data(blocks_[i].ram, 0, data.size(),
                          [&](uint64_t first, uint64_t count) { data.set_range(first, count); });
        if (!walked)
            return walked;
        bring_back(i);
        data = PageBitmap(blocks_[i].pages);
    }
    return files_.clear();
}

/// Into both page tables, so that the page can be found clean the next time but one.
void SoftDirtyTracker::bring_back(size_t index) const
{
    const PageBitmap& absent = absent_[index];
    const uint64_t end = absent.size();
    PageBitmap gone(end);
    for (uint64_t page = absent.next_set(0, end); page < end; page = absent.next_set(page, end)) {
        const uint64_t stop = absent.next_clear(page, end);
        witnesses_[index].restore(page, stop - page);
        page = stop;
    }
    // What is swapped out is not brought in by tracking alone: sending it does.
    if (!witnesses_[index].look(gone))
        return;
    Toucher toucher(process_.pid());
    for (uint64_t page = absent.next_set(0, end); page < end; page = absent.next_set(page + 1, end))
        if (!gone.test(page))
            toucher.touch(blocks_[index].address + page * ram_page_size);
}

Status SoftDirtyTracker::look(std::span<PageBitmap> dirty, std::vector<PageBitmap>& lacking) const
{
    for (size_t i = 0; i < blocks_.size(); ++i) {
        Status read = read_page_entries(files_.pagemap.get(), blocks_[i].address, blocks_[i].pages,
                                        [&](uint64_t page, uint64_t entry) {
                                            if (entry & entry_soft_dirty)
                                                dirty[i].set(page);
                                            if (!(entry & entry_present))
                                                lacking[i].set(page);
                                        });
        if (!read)
            return read;
    }
    return {};
}

Status SoftDirtyTracker::collect_all(std::span<PageBitmap> dirty)
{
    std::vector<PageBitmap> lacking;
    for (const BlockMapping& block : blocks_)
        lacking.emplace_back(block.pages);
    {
        Standstill standstill(process_);
        auto still = standstill.begin();
        if (!still)
            return pass(still);
        if (Status looked = look(dirty, lacking); !looked)
            return looked;
        if (*still) {
            if (Status cleared = files_.clear(); !cleared)
                return cleared;
        } else if (!std::exchange(warned_, true)) {
            // Nothing is lost: what is not cleared is found again.
            log::warning("QEMU did not stand still within 0.1 s, since one of its threads waits "
                         "for something slower (a disk?): what the guest wrote counts twice");
        }
    }
    // The guest runs again. Whatever the kernel took away until now is seen by the witness.
    for (size_t i = 0; i < blocks_.size(); ++i) {
        if (Status looked = witnesses_[i].look(lacking[i]); !looked)
            return looked;
        count_absent(data_among(blocks_[i].ram, lacking[i]), absent_[i], dirty[i]);
        bring_back(i);
    }
    return {};
}

Result<std::vector<RamWitness>> make_witnesses(std::span<const BlockMapping> blocks)
{
    std::vector<RamWitness> witnesses;
    for (const BlockMapping& block : blocks) {
        if (block.backing_page != ram_page_size)
            return fail(ErrorKind::Refused,
                        "this kernel's dirty tracking (soft-dirty) does not see writes to huge "
                        "pages of hugetlbfs, in which RAM block " +
                            block.ram.name + " is",
                        "Linux 6.7 or newer sees them; or start the guest without hugetlb");
        auto witness = RamWitness::create(block.ram.file.get(), block.pages);
        if (!witness)
            return pass(witness);
        witnesses.push_back(std::move(*witness));
    }
    return witnesses;
}

} // namespace

PageBitmap data_among(const RamBlock& block, const PageBitmap& pages)
{
    const uint64_t end = pages.size();
    PageBitmap data(end);
    for (uint64_t page = pages.next_set(0, end); page < end;) {
        const off_t next =
            lseek(block.file.get(), static_cast<off_t>(page * ram_page_size), SEEK_DATA);
        if (next < 0 && errno == ENXIO)
            break; // nothing but holes up to the end
        if (next < 0)
            return pages; // a file system that cannot tell
        const uint64_t found = static_cast<uint64_t>(next) / ram_page_size;
        if (found == page)
            data.set(page++);
        page = pages.next_set(std::max(page, std::min(found, end)), end);
    }
    return data;
}

void count_absent(PageBitmap now, PageBitmap& absent, PageBitmap& dirty)
{
    dirty.add(now, 0, now.size());
    dirty.add(absent, 0, absent.size());
    absent = std::move(now);
}

Result<std::unique_ptr<DirtyTracker>> make_soft_dirty_tracker(pid_t pid,
                                                              std::span<const BlockMapping> blocks)
{
    auto process = ProcessHandle::open(pid);
    if (!process)
        return pass(process);
    auto files = open_proc_files(*process);
    if (!files)
        return pass(files);
    auto witnesses = make_witnesses(blocks);
    if (!witnesses)
        return pass(witnesses);
    return std::make_unique<SoftDirtyTracker>(std::move(*process), std::move(*files), blocks,
                                              std::move(*witnesses));
}

Status probe_soft_dirty()
{
    auto self = ProcessHandle::open(getpid());
    if (!self)
        return pass(self);
    auto files = open_proc_files(*self);
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
    auto count = [&](uint64_t& found, uint64_t weight_of_second) {
        return read_page_entries(files->pagemap.get(), reinterpret_cast<uintptr_t>(map), pages,
                                 [&](uint64_t page, uint64_t entry) {
                                     if (entry & entry_soft_dirty)
                                         found += page == 0 ? 1 : weight_of_second;
                                 });
    };
    Status status = files->clear();
    if (status)
        status = count(before, 1);
    memory[0] = 2;
    if (status)
        status = count(after, 100);
    // The witness of what the kernel takes away needs this too.
    const bool can_restore = madvise(map, ram_page_size, abi::madvise_populate_write) == 0;
    munmap(map, pages * ram_page_size);
    if (!status)
        return status;
    if (before != 0 || after != 1)
        return fail(ErrorKind::System,
                    "this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
    if (!can_restore)
        return fail(ErrorKind::System, "tracking by soft-dirty bits needs Linux 5.14 or newer");
    return {};
}

} // namespace drover
