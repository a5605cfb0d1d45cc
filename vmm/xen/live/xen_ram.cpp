// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_ram.h"

#include "vmm/qemu/state/acpi_hole.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#undef __STRICT_ANSI__ // as xen_domain.cpp
extern "C" {
#include <xencall.h>
#include <xenctrl.h>
}

namespace drover::xen {

namespace {

constexpr uint64_t hole_frames = 512;   // of 2 MiB
constexpr uint64_t own_first = 0xfeff0; // Xen's own: rings, stores, its page table
constexpr uint64_t own_frames = 16;

class Frames : public RamReader {
public:
    Frames(std::shared_ptr<const XenDomain> domain, const qemu::PcMemory& layout)
        : domain_(std::move(domain)), layout_(layout)
    {
    }
    [[nodiscard]] Status read(uint64_t offset, std::span<std::byte> into) const override
    {
        for (uint64_t page = offset / ram_page_size; !into.empty();) {
            const uint64_t row = layout_.pages_in_a_row(page) * ram_page_size;
            const auto piece = into.first(std::min<uint64_t>(into.size(), row));
            if (Status read = domain_->read(layout_.frame_of(page), piece); !read)
                return read;
            into = into.subspan(piece.size());
            page += piece.size() / ram_page_size;
        }
        return {};
    }

private:
    std::shared_ptr<const XenDomain> domain_;
    qemu::PcMemory layout_;
};

/// Which frames of a domain have memory, by Xen's own books: no page is mapped, and a thousand
/// frames are one call.
class Census {
public:
    explicit Census(uint32_t domain) : domain_(domain), call_(xencall_open(nullptr, 0))
    {
        if (!call_)
            return;
        operation_ = static_cast<xen_domctl*>(xencall_alloc_buffer(call_, sizeof *operation_));
        frames_ =
            static_cast<uint64_t*>(xencall_alloc_buffer(call_, frames_at_once * sizeof *frames_));
    }
    ~Census()
    {
        if (frames_)
            xencall_free_buffer(call_, frames_);
        if (operation_)
            xencall_free_buffer(call_, operation_);
        if (call_)
            xencall_close(call_);
    }
    Census(const Census&) = delete;
    Census& operator=(const Census&) = delete;

    [[nodiscard]] Result<uint64_t> count(const state::FrameRange& range)
    {
        if (!operation_ || !frames_)
            return fail(ErrorKind::System, "Xen cannot be called from here",
                        "run it as root, in Dom0, with /dev/xen/privcmd");
        uint64_t found = 0;
        for (uint64_t done = 0; done < range.count; done += frames_at_once) {
            const auto now = std::min(range.count - done, frames_at_once);
            if (Status asked = ask(range.first + done, now); !asked)
                return pass(asked);
            found += static_cast<uint64_t>(std::ranges::count_if(
                std::span(frames_, now), [](uint64_t type) { return !is_hole(type); }));
        }
        return found;
    }

private:
    static constexpr uint64_t frames_at_once = 1024; ///< Xen takes no more

    static bool is_hole(uint64_t type)
    {
        return (type & XEN_DOMCTL_PFINFO_LTAB_MASK) == XEN_DOMCTL_PFINFO_XTAB;
    }
    /// The answers stand where the questions stood.
    Status ask(uint64_t first, uint64_t count)
    {
        std::iota(frames_, frames_ + count, first);
        memset(operation_, 0, sizeof *operation_);
        operation_->cmd = XEN_DOMCTL_getpageframeinfo3;
        operation_->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        operation_->domain = static_cast<domid_t>(domain_);
        operation_->u.getpageframeinfo3.num = count;
        set_xen_guest_handle_raw(operation_->u.getpageframeinfo3.array, frames_);
        if (xencall1(call_, __HYPERVISOR_domctl, reinterpret_cast<uint64_t>(operation_)) < 0)
            return fail_errno("asking Xen where the domain has memory", errno);
        return {};
    }

    uint32_t domain_;
    xencall_handle* call_;
    xen_domctl* operation_ = nullptr; ///< in memory that a hypercall may use, as the next
    uint64_t* frames_ = nullptr;
};

/// The frames up to the last one that are not RAM.
std::vector<state::FrameRange> beside(const qemu::PcMemory& layout, uint64_t last)
{
    std::vector<state::FrameRange> between;
    uint64_t at = 0;
    for (const state::FrameRange& range : layout.ranges()) {
        if (range.first > at)
            between.push_back({at, range.first - at});
        at = range.first + range.count;
    }
    if (last >= at)
        between.push_back({at, last + 1 - at});
    return between;
}

uint64_t frames_in(std::span<const state::FrameRange> ranges)
{
    return std::accumulate(
        ranges.begin(), ranges.end(), uint64_t{0},
        [](uint64_t sum, const state::FrameRange& range) { return sum + range.count; });
}

Result<uint64_t> count_all(Census& census, std::span<const state::FrameRange> ranges)
{
    uint64_t found = 0;
    for (const state::FrameRange& range : ranges) {
        const auto there = census.count(range);
        if (!there)
            return there;
        found += *there;
    }
    return found;
}

/// How many of its pages are neither RAM nor `known`. A small guest's RAM is looked through, and
/// what is beside it of a large one: there are no more than 4 GiB of that.
Result<uint64_t> count_strangers(const XenDomain& domain, Census& census,
                                 const qemu::PcMemory& layout, uint64_t known)
{
    const auto info = domain.info();
    const auto last = domain.last_frame();
    if (!info || !last)
        return std::unexpected(!info ? info.error() : last.error());
    const auto ram = layout.ranges();
    const auto others = beside(layout, *last);
    const bool is_small = frames_in(ram) < frames_in(others);
    const auto found = count_all(census, is_small ? ram : others);
    if (!found)
        return found;
    const uint64_t all = is_small ? info->pages : *found;
    known += is_small ? *found : 0;
    return all - std::min(all, known);
}

} // namespace

Result<DomainRam> ram_of(const std::shared_ptr<const XenDomain>& domain,
                         const qemu::PcMemory& layout)
{
    Census census(domain->id());
    const auto hole = census.count({qemu::acpi_hole_frame, hole_frames});
    const auto own = census.count({own_first, own_frames});
    if (!hole || !own)
        return std::unexpected(!hole ? hole.error() : own.error());
    auto strangers = count_strangers(*domain, census, layout, *hole + *own);
    if (!strangers)
        return pass(strangers);
    if (*strangers > 0)
        return fail(ErrorKind::Refused,
                    "the domain has " + std::to_string(*strangers) +
                        " pages of memory at places where QEMU has none",
                    "graphics cards and network cards' boot ROMs are not moved: vga=\"none\", "
                    "-device …,romfile=");
    DomainRam found;
    found.layout = layout;
    found.has_tables = *hole > 0;
    found.blocks.push_back({.name = "pc.ram",
                            .size = layout.size,
                            .backing_page = ram_page_size,
                            .file = {},
                            .reader = std::make_shared<Frames>(domain, layout)});
    return found;
}

Result<state::Memory> tables_of(const XenDomain& domain)
{
    std::vector<std::byte> contents(hole_frames * ram_page_size);
    if (Status read = domain.read(qemu::acpi_hole_frame, contents); !read)
        return pass(read);
    state::Memory memory{.name = std::string(qemu::acpi_hole_block),
                         .size = contents.size(),
                         .pages = {},
                         .bytes = {}};
    for (uint64_t page = 0; page < hole_frames; ++page) {
        const std::byte* bytes = contents.data() + page * ram_page_size;
        if (is_zero_page(bytes))
            continue;
        memory.pages.push_back(page);
        for (size_t i = 0; i < ram_page_size; ++i)
            memory.bytes.push_back(std::to_integer<uint8_t>(bytes[i]));
    }
    return memory;
}

LogDirty::LogDirty(XenDomain& domain, const qemu::PcMemory& layout, std::function<void()> stopped)
    : domain_(domain), layout_(layout), stopped_(std::move(stopped))
{
}

LogDirty::~LogDirty()
{
    stop();
}

Status LogDirty::start()
{
    Status started = domain_.start_log();
    on_ = on_ || started;
    return started;
}

Status LogDirty::collect(size_t /*block*/, uint64_t /*first*/, uint64_t /*end*/,
                         PageBitmap& /*dirty*/)
{
    return fail(ErrorKind::Refused, "Xen's log is read as a whole only");
}

Status LogDirty::collect_all(std::span<PageBitmap> dirty)
{
    constexpr uint64_t in_word = 64; // both pieces of RAM begin at such a multiple
    std::vector<uint64_t> words((layout_.end_frame() + in_word - 1) / in_word);
    if (Status taken = domain_.take_log(words); !taken)
        return taken;
    for (uint64_t page = 0; page < layout_.size / ram_page_size; page += in_word)
        dirty[0].set_word(page, words[layout_.frame_of(page) / in_word]);
    return {};
}

void LogDirty::stop()
{
    if (!std::exchange(on_, false))
        return;
    domain_.stop_log();
    stopped_();
}

} // namespace drover::xen
