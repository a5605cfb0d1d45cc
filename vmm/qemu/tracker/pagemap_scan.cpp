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
#include "vmm/qemu/tracker/filled_parts.h"
#include "vmm/qemu/tracker/holding.h"
#include "vmm/qemu/tracker/huge_pages.h"
#include "vmm/qemu/tracker/process_handle.h"
#include "vmm/qemu/tracker/protection.h"
#include "vmm/qemu/tracker/standstill.h"
#include "vmm/qemu/tracker/written_scan.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
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

uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/// A part of a block, which is under one of its userfaultfds.
struct Piece {
    size_t block;
    uffdio_range range;
    enum class Mode { Noting, Holding, Lost } mode = Mode::Noting;

    [[nodiscard]] uint64_t end() const { return range.start + range.len; }
};

/// What is mapped of a block: a huge page at its end may be larger than what is left.
uint64_t mapped_bytes(const BlockMapping& block)
{
    return round_up(block.pages * ram_page_size, block.backing_page);
}

/// The pieces of one block, in order.
std::vector<Piece> pieces_of(size_t index, const BlockMapping& block)
{
    std::vector<Piece> pieces;
    // A piece is not less than a huge page, however large that one is.
    const uint64_t bytes = round_up(piece_bytes, block.backing_page);
    const uint64_t size = mapped_bytes(block);
    for (uint64_t at = 0; at < size; at += bytes)
        pieces.push_back({index, {block.address + at, std::min(bytes, size - at)}});
    return pieces;
}

class PagemapScanTracker : public HoldingTracker {
public:
    PagemapScanTracker(ProcessHandle process, UniqueFd pagemap,
                       std::span<const BlockMapping> blocks)
        : process_(std::move(process)), pagemap_(std::move(pagemap)), blocks_(blocks),
          huge_(pagemap_.get(), process_.pidfd())
    {
        for (size_t i = 0; i < blocks_.size(); ++i) {
            pieces_.push_back(pieces_of(i, blocks_[i]));
            pending_.emplace_back(blocks_[i].pages);
            filled_.emplace_back(blocks_[i].ram.file.get(), mapped_bytes(blocks_[i]));
        }
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

    bool is_coarse(size_t index) const override
    {
        return blocks_[index].backing_page > ram_page_size;
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
    Status scan_noted(const Piece& piece, uint64_t start, uint64_t end, uint64_t flags,
                      const Report& report);
    Status take_held(const Piece& piece, uint64_t start, uint64_t end, const Report& report);
    Status take_chunk(int userfaultfd, uint64_t start, uint64_t end, const Report& report);
    [[nodiscard]] Piece* next_piece(bool hold);
    Status note_written(const Piece& piece);
    Status change(Piece& piece, Mode wanted);

    ProcessHandle process_;
    UniqueFd pagemap_;
    std::span<const BlockMapping> blocks_;

    /// Those who collect share it; those who change what follows have it alone. They take the gate
    /// first: those who collect again and again would never let them in.
    std::shared_mutex lock_;
    std::mutex gate_;
    bool started_ = false;
    std::vector<std::vector<Piece>> pieces_; ///< of each block, all of one size but for the last
    std::vector<FilledParts> filled_;        ///< one a block
    HugePages huge_;
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
    const std::vector<Piece>& pieces = pieces_[index];
    const uint64_t base = blocks_[index].address;
    for (size_t i = (start - base) / pieces.front().range.len;
         i < pieces.size() && pieces[i].range.start < end; ++i) {
        const Piece& piece = pieces[i];
        const uint64_t from = std::max<uint64_t>(start, piece.range.start);
        const uint64_t to = std::min<uint64_t>(end, piece.end());
        if (piece.mode == Mode::Lost)
            return fail(ErrorKind::System, "the guest's writes are not tracked any more",
                        "start the migration again");
        Status taken = piece.mode == Mode::Holding
                           ? take_held(piece, from, to, report)
                           : scan_noted(piece, from, to, scan_and_protect, report);
        if (!taken)
            return taken;
    }
    return {};
}

/// Scans a part that is under the asynchronous userfaultfd. Holes are left alone (see FilledParts);
/// in a part that had none but holes until now, those that are left count as written for the
/// kernel, but not for us: what is a hole after it was protected was not written before. To find
/// them the file is asked for each page, which for all of a guest takes seconds: only if there is a
/// `report` to be made.
Status PagemapScanTracker::scan_noted(const Piece& piece, uint64_t start, uint64_t end,
                                      uint64_t flags, const Report& report)
{
    FilledParts& parts = filled_[piece.block];
    const BlockMapping& block = blocks_[piece.block];
    const uint64_t base = block.address;
    const bool protects = flags != 0;
    return parts.for_each(start - base, end - base, [&](uint64_t at, uint64_t stop, bool fresh) {
        auto found = [&](uint64_t from, uint64_t to) {
            // Before the file is asked: what is written meanwhile is protected, and data by then.
            if (protects && block.backing_page == ram_page_size)
                huge_.split(block.userfaultfd.get(), from, to);
            if (report && !fresh)
                report(from, to);
            else if (report)
                parts.each_data_page(from - base, to - base, [&](uint64_t first, uint64_t last) {
                    report(base + first, base + last);
                });
        };
        return scan_written(pagemap_.get(), base + at, base + stop, flags, found);
    });
}

/// All pieces are under the asynchronous userfaultfd: so stop() leaves them.
Status PagemapScanTracker::start()
{
    const std::lock_guard gate(gate_);
    const std::unique_lock lock(lock_);
    started_ = true;
    for (PageBitmap& pages : pending_)
        pages.clear_range(0, pages.size());
    for (const std::vector<Piece>& block : pieces_)
        for (const Piece& piece : block)
            if (Status done =
                    scan_noted(piece, piece.range.start, piece.end(), scan_and_protect, {});
                !done)
                return done;
    return {};
}

Status PagemapScanTracker::collect(size_t index, uint64_t first, uint64_t end, PageBitmap& dirty)
{
    const std::shared_lock lock = share();
    const BlockMapping& block = blocks_[index];
    dirty.add(pending_[index], first, end);
    pending_[index].clear_range(first, end - first);
    // The block's last huge page is scanned as a whole, and counts as far as the block goes.
    const uint64_t scanned =
        end == block.pages ? mapped_bytes(block) : std::min(end, block.pages) * ram_page_size;
    return take_written(index, block.address + first * ram_page_size, block.address + scanned,
                        [&](uint64_t from, uint64_t to) {
                            const uint64_t page = (from - block.address) / ram_page_size;
                            const uint64_t stop = (to - block.address) / ram_page_size;
                            if (page < block.pages)
                                dirty.set_range(page, std::min(stop, block.pages) - page);
                        });
}

Status PagemapScanTracker::collect_all(std::span<PageBitmap> dirty)
{
    // A guest that has filled nothing yet has nothing to be scanned: that would show nothing.
    if (process_.has_ended())
        return fail(ErrorKind::Machine, "QEMU has ended");
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
    for (std::vector<Piece>& block : pieces_)
        for (Piece& piece : block) {
            (void)set_protection(userfaultfd(piece, piece.mode), piece.range, 0);
            if (piece.mode != Mode::Noting)
                (void)hand_over(piece.range, userfaultfd(piece, Mode::Holding),
                                userfaultfd(piece, Mode::Noting));
            piece.mode = Mode::Noting;
        }
    huge_.join(blocks_);
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
    auto note = [&](uint64_t from, uint64_t to) {
        pending_[piece.block].set_range((from - base) / ram_page_size, (to - from) / ram_page_size);
    };
    return scan_noted(piece, piece.range.start, piece.end(), 0, note);
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
    for (std::vector<Piece>& block : pieces_) {
        const auto next =
            std::ranges::find(block, hold ? Mode::Noting : Mode::Holding, &Piece::mode);
        if (next != block.end())
            return &*next;
    }
    return nullptr;
}

/// The guest first: a thread that waits in the kernel stops only when it was answered, for which
/// nothing may be locked here.
Result<double> PagemapScanTracker::hold_next(bool hold)
{
    Piece* piece = next_piece(hold);
    if (!piece)
        return 0;
    Standstill standstill(process_);
    const TimePoint start = Clock::now();
    auto still = standstill.begin();
    if (!still)
        return pass(still);
    if (!*still)
        return seconds_since(start); // the piece's turn comes again
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
    auto process = ProcessHandle::open(pid);
    if (!process)
        return pass(process);
    auto pagemap = process->open_file("pagemap", O_RDONLY);
    if (!pagemap)
        return pass(pagemap);
    return std::make_unique<PagemapScanTracker>(std::move(*process), std::move(*pagemap), blocks);
}

} // namespace drover
