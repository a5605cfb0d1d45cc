// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_ram.h"

#include "vmm/qemu/state/acpi_hole.h"

#include <algorithm>

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

Result<uint64_t> count(const XenDomain& domain, uint64_t first, uint64_t frames)
{
    constexpr uint64_t at_once = 512;
    std::vector<std::byte> contents(at_once * ram_page_size);
    std::array<bool, at_once> there{};
    uint64_t found = 0;
    for (uint64_t done = 0; done < frames; done += at_once) {
        const uint64_t now = std::min(frames - done, at_once);
        if (Status read = domain.read(first + done, std::span(contents).first(now * ram_page_size),
                                      std::span(there).first(now));
            !read)
            return pass(read);
        found += static_cast<uint64_t>(std::ranges::count(std::span(there).first(now), true));
    }
    return found;
}

Result<uint64_t> count_ram(const XenDomain& domain, const qemu::PcMemory& layout)
{
    uint64_t found = 0;
    for (const state::FrameRange& range : layout.ranges()) {
        const auto there = count(domain, range.first, range.count);
        if (!there)
            return there;
        found += *there;
    }
    return found;
}

} // namespace

Result<DomainRam> ram_of(const std::shared_ptr<const XenDomain>& domain,
                         const qemu::PcMemory& layout)
{
    const auto info = domain->info();
    const auto ram = count_ram(*domain, layout);
    const auto hole = count(*domain, qemu::acpi_hole_frame, hole_frames);
    const auto own = count(*domain, own_first, own_frames);
    if (!info || !ram || !hole || !own)
        return std::unexpected(!info   ? info.error()
                               : !ram  ? ram.error()
                               : !hole ? hole.error()
                                       : own.error());
    if (const uint64_t known = *ram + *hole + *own; info->pages > known)
        return fail(ErrorKind::Refused,
                    "the domain has " + std::to_string(info->pages - known) +
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
