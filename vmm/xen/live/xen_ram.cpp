// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_ram.h"

#include "vmm/qemu/state/acpi_hole.h"

#include <algorithm>

namespace drover::xen {

namespace {

/// Up to here both hypervisors have all of it from 0 on, in one piece.
constexpr uint64_t most_memory = 0xe0000000; // exclusive
constexpr uint64_t hole_frames = 512;        // of 2 MiB
constexpr uint64_t own_first = 0xfeff0;      // Xen's own: rings, stores, its page table
constexpr uint64_t own_frames = 16;

class Frames : public RamReader {
public:
    explicit Frames(std::shared_ptr<const XenDomain> domain) : domain_(std::move(domain)) {}
    [[nodiscard]] Status read(uint64_t offset, std::span<std::byte> into) const override
    {
        return domain_->read(offset / ram_page_size, into);
    }

private:
    std::shared_ptr<const XenDomain> domain_;
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

} // namespace

Status check_memory(uint64_t bytes)
{
    if (bytes != 0 && bytes % ram_page_size == 0 && bytes < most_memory)
        return {};
    return fail(ErrorKind::Refused,
                "guests of 3.5 GiB or more, which Xen and QEMU lay out differently, are not "
                "moved between them",
                "give the guest less memory, and boot it anew");
}

Result<DomainRam> ram_of(const std::shared_ptr<const XenDomain>& domain, uint64_t memory)
{
    if (Status fits = check_memory(memory); !fits)
        return pass(fits);
    const auto info = domain->info();
    const auto ram = count(*domain, 0, memory / ram_page_size);
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
    found.has_tables = *hole > 0;
    found.blocks.push_back({.name = "pc.ram",
                            .size = memory,
                            .backing_page = ram_page_size,
                            .file = {},
                            .reader = std::make_shared<Frames>(domain)});
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

LogDirty::LogDirty(XenDomain& domain, uint64_t pages, std::function<void()> stopped)
    : domain_(domain), pages_(pages), stopped_(std::move(stopped))
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
    std::vector<uint64_t> words((pages_ + 63) / 64);
    if (Status taken = domain_.take_log(words); !taken)
        return taken;
    for (uint64_t page = 0; page < pages_; page += 64)
        dirty[0].set_word(page, words[page / 64]);
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
