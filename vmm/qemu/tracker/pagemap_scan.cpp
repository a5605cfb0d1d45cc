// SPDX-License-Identifier: GPL-2.0-or-later
//
// RAM is under one of two userfaultfds. Under the asynchronous one the kernel notes each first
// write by itself, and PAGEMAP_SCAN reads and protects in one step. Under the holding one a first
// write waits for let_write(), and PAGEMAP_SCAN can only look. What it found is then protected by a
// call of its own; nothing is lost between the two, since a page becomes writable by let_write()
// only, which waits while a chunk is scanned and protected.
#include "vmm/qemu/tracker/pagemap_scan.h"

#include "migration/ram/ram_block.h"
#include "util/clock.h"
#include "vmm/qemu/tracker/holding.h"
#include "vmm/qemu/tracker/protection.h"
#include "vmm/qemu/tracker/standstill.h"
#include "vmm/qemu/tracker/written_scan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <linux/userfaultfd.h>
#include <mutex>
#include <shared_mutex>
#include <string>

namespace drover {

namespace {

/// What is scanned and protected at once while writers are held: one page-table page.
constexpr uint64_t chunk_bytes = 2 << 20;
/// What is handed over at once, while the guest stands still: the kernel needs 50 to 100 ns for
/// each page. Larger than what collect() is asked for, and so a multiple of it.
constexpr uint64_t piece_bytes = 32 << 20;

/// A part of a block, which is under one of its userfaultfds.
struct Piece {
    size_t block;
    uffdio_range range;
    enum class Mode { Noting, Holding, Lost } mode = Mode::Noting;

    [[nodiscard]] uint64_t end() const { return range.start + range.len; }
};

std::vector<Piece> pieces_of(std::span<const BlockMapping> blocks)
{
    std::vector<Piece> pieces;
    for (size_t i = 0; i < blocks.size(); ++i) {
        const uint64_t size = blocks[i].pages * ram_page_size;
        for (uint64_t at = 0; at < size; at += piece_bytes)
            pieces.push_back({i, {blocks[i].address + at, std::min(piece_bytes, size - at)}});
    }
    return pieces;
}

class PagemapScanTracker : public HoldingTracker {
public:
    PagemapScanTracker(pid_t pid, UniqueFd pagemap, std::span<const BlockMapping> blocks)
        : pid_(pid), pagemap_(std::move(pagemap)), blocks_(blocks), pieces_(pieces_of(blocks))
    {
        for (const BlockMapping& block : blocks_)
            pending_.emplace_back(block.pages);
    }
    PagemapScanTracker(const PagemapScanTracker&) = delete;
    PagemapScanTracker& operator=(const PagemapScanTracker&) = delete;
    ~PagemapScanTracker() override { stop(); }

    std::string_view name() const override { return "pagemap-scan"; }
    /// A huge page is protected as a whole: no part of one can be asked for.
    bool collects_ranges() const override
    {
        constexpr uint64_t range = 2 << 20; // the least that anybody asks for, but at a block's end
        return std::ranges::all_of(
            blocks_, [](const BlockMapping& block) { return block.backing_page <= range; });
    }

    Status start() override;
    Status collect(size_t index, uint64_t first, uint64_t end, PageBitmap& dirty) override;
    Status collect_all(std::span<PageBitmap> dirty) override;
    void stop() override;

    Status can_hold() const override;
    Result<double> hold_next(bool hold) override;
    Status let_write(size_t index, uint64_t address) override;

private:
    using Mode = Piece::Mode;
    using Report = std::function<void(uint64_t start, uint64_t end)>;

    [[nodiscard]] int userfaultfd(const Piece& piece, Mode mode) const
    {
        const BlockMapping& block = blocks_[piece.block];
        return (mode == Mode::Holding ? block.holding : block.userfaultfd).get();
    }
    std::shared_lock<std::shared_mutex> share()
    {
        const std::lock_guard gate(gate_);
        return std::shared_lock(lock_);
    }
    std::mutex& chunk_lock(uint64_t address)
    {
        return chunks_[address / chunk_bytes % chunks_.size()];
    }
    Status take_written(size_t index, uint64_t start, uint64_t end, const Report& report);
    Status take_held(const Piece& piece, uint64_t start, uint64_t end, const Report& report);
    Status take_chunk(int userfaultfd, uint64_t start, uint64_t end, const Report& report);
    [[nodiscard]] Piece* next_piece(bool hold);
    Status note_written(const Piece& piece);
    Status change(Piece& piece, Mode wanted);

    pid_t pid_;
    UniqueFd pagemap_;
    std::span<const BlockMapping> blocks_;

    /// Those who collect share it; those who change what follows have it alone. They take the gate
    /// first: those who collect again and again would never let them in.
    std::shared_mutex lock_;
    std::mutex gate_;
    bool started_ = false;
    std::vector<Piece> pieces_; ///< in the blocks' order
    /// Written before a piece was handed over, and not collected since. Ranges as those of
    /// collect().
    std::vector<PageBitmap> pending_;
    std::array<std::mutex, 64> chunks_; ///< a page's is chunk_lock()
};

Status PagemapScanTracker::take_chunk(int userfaultfd, uint64_t start, uint64_t end,
                                      const Report& report)
{
    const std::lock_guard lock(chunk_lock(start));
    uint64_t first = end;
    uint64_t last = start;
    Status looked = scan_written(pagemap_.get(), start, end, 0, [&](uint64_t from, uint64_t to) {
        report(from, to);
        first = std::min(first, from);
        last = std::max(last, to);
    });
    if (!looked || first >= last)
        return looked;
    // What lies between the runs is protected as it is: one call for all of them.
    return set_protection(userfaultfd, {first, last - first}, UFFDIO_WRITEPROTECT_MODE_WP);
}

Status PagemapScanTracker::take_held(const Piece& piece, uint64_t start, uint64_t end,
                                     const Report& report)
{
    for (uint64_t at = start, next; at < end; at = next) {
        next = std::min(end, (at / chunk_bytes + 1) * chunk_bytes);
        if (Status taken = take_chunk(userfaultfd(piece, Mode::Holding), at, next, report); !taken)
            return taken;
    }
    return {};
}

Status PagemapScanTracker::take_written(size_t index, uint64_t start, uint64_t end,
                                        const Report& report)
{
    for (const Piece& piece : pieces_) {
        const uint64_t from = std::max<uint64_t>(start, piece.range.start);
        const uint64_t to = std::min<uint64_t>(end, piece.end());
        if (piece.block != index || from >= to)
            continue;
        if (piece.mode == Mode::Lost)
            return fail(ErrorKind::System, "the guest's writes are not tracked any more",
                        "start the migration again");
        Status taken = piece.mode == Mode::Holding
                           ? take_held(piece, from, to, report)
                           : scan_written(pagemap_.get(), from, to, scan_and_protect, report);
        if (!taken)
            return taken;
    }
    return {};
}

Status PagemapScanTracker::start()
{
    const std::lock_guard gate(gate_);
    const std::unique_lock lock(lock_);
    started_ = true;
    for (PageBitmap& pages : pending_)
        pages.clear_range(0, pages.size());
    for (size_t i = 0; i < blocks_.size(); ++i) {
        const uint64_t end = blocks_[i].address + blocks_[i].pages * ram_page_size;
        if (Status taken = take_written(i, blocks_[i].address, end, [](uint64_t, uint64_t) {});
            !taken)
            return taken;
    }
    return {};
}

Status PagemapScanTracker::collect(size_t index, uint64_t first, uint64_t end, PageBitmap& dirty)
{
    const std::shared_lock lock = share();
    const uint64_t base = blocks_[index].address;
    dirty.add(pending_[index], first, end);
    pending_[index].clear_range(first, end - first);
    return take_written(index, base + first * ram_page_size, base + end * ram_page_size,
                        [&](uint64_t from, uint64_t to) {
                            dirty.set_range((from - base) / ram_page_size,
                                            (to - from) / ram_page_size);
                        });
}

Status PagemapScanTracker::collect_all(std::span<PageBitmap> dirty)
{
    for (size_t i = 0; i < blocks_.size(); ++i)
        if (Status status = collect(i, 0, blocks_[i].pages, dirty[i]); !status)
            return status;
    return {};
}

/// Nothing is tracked from here on, so nobody need stand still. It fails only if QEMU is dead.
void PagemapScanTracker::stop()
{
    const std::lock_guard gate(gate_);
    const std::unique_lock lock(lock_);
    if (!std::exchange(started_, false))
        return;
    for (Piece& piece : pieces_) {
        (void)set_protection(userfaultfd(piece, piece.mode), piece.range, 0);
        if (piece.mode != Mode::Noting)
            (void)hand_over(piece.range, userfaultfd(piece, Mode::Holding),
                            userfaultfd(piece, Mode::Noting));
        piece.mode = Mode::Noting;
    }
}

Status PagemapScanTracker::can_hold() const
{
    for (const BlockMapping& block : blocks_) {
        if (block.backing_page > ram_page_size)
            return fail(ErrorKind::Refused,
                        "the guest's RAM is in huge pages, whose writes cannot be held one by one");
        auto features = enable_holding(block);
        if (!features)
            return pass(features);
        constexpr uint64_t needed = abi::uffd_feature_pagefault_flag_wp |
                                    abi::uffd_feature_wp_hugetlbfs_shmem | UFFD_FEATURE_THREAD_ID;
        if ((*features & needed) != needed)
            return fail(ErrorKind::System, "this kernel cannot hold writes to shared memory");
        // While it belongs to the other one: that it is busy is the best that can be said of it.
        uffdio_register registration{};
        registration.range = {block.address, block.pages * ram_page_size};
        registration.mode = UFFDIO_REGISTER_MODE_WP;
        if (ioctl(block.holding.get(), UFFDIO_REGISTER, &registration) < 0 && errno != EBUSY)
            return fail_errno("holding writes to this kind of memory (userfaultfd)", errno);
    }
    return {};
}

Status PagemapScanTracker::let_write(size_t index, uint64_t address)
{
    const std::lock_guard lock(chunk_lock(address));
    return set_protection(blocks_[index].holding.get(), {address, ram_page_size}, 0);
}

Status PagemapScanTracker::note_written(const Piece& piece)
{
    const uint64_t base = blocks_[piece.block].address;
    return scan_written(pagemap_.get(), piece.range.start, piece.end(), 0,
                        [&](uint64_t from, uint64_t to) {
                            pending_[piece.block].set_range((from - base) / ram_page_size,
                                                            (to - from) / ram_page_size);
                        });
}

Status PagemapScanTracker::change(Piece& piece, Mode wanted)
{
    if (Status noted = note_written(piece); !noted)
        return noted;
    const int to = userfaultfd(piece, wanted);
    Status changed = hand_over(piece.range, userfaultfd(piece, piece.mode), to);
    if (changed)
        changed = set_protection(to, piece.range, UFFDIO_WRITEPROTECT_MODE_WP);
    // Half of it would lose writes: whoever collects next is told.
    piece.mode = changed ? wanted : Mode::Lost;
    return changed;
}

Piece* PagemapScanTracker::next_piece(bool hold)
{
    const std::shared_lock lock = share();
    const auto next = std::ranges::find(pieces_, hold ? Mode::Noting : Mode::Holding, &Piece::mode);
    return next == pieces_.end() ? nullptr : &*next;
}

/// The guest first: a thread that waits in the kernel stops only when it was answered, for which
/// nothing may be locked here.
Result<double> PagemapScanTracker::hold_next(bool hold)
{
    Piece* piece = next_piece(hold);
    if (!piece)
        return 0;
    Standstill standstill(pid_);
    const TimePoint start = Clock::now();
    if (Status still = standstill.begin(); !still)
        return pass(still);
    const std::lock_guard gate(gate_);
    const std::unique_lock lock(lock_);
    if (!started_)
        return 0; // it was stopped meanwhile: nothing is held
    if (Status changed = change(*piece, hold ? Mode::Holding : Mode::Noting); !changed)
        return pass(changed);
    return seconds_since(start);
}

} // namespace

Result<std::unique_ptr<HoldingTracker>>
make_pagemap_scan_tracker(pid_t pid, std::span<const BlockMapping> blocks)
{
    auto pagemap = open_pagemap(pid);
    if (!pagemap)
        return pass(pagemap);
    return std::make_unique<PagemapScanTracker>(pid, std::move(*pagemap), blocks);
}

} // namespace drover
