// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_feed.h"

#include "migration/ram/ram_block.h"
#include "vmm/qemu/state/acpi_hole.h"

#include <algorithm>

namespace drover::xen {

Status XenFeed::begin(size_t vcpus)
{
    const std::lock_guard lock(mutex_);
    // Whether its TSC is as fast as this host's is known at the end only, and told then.
    save_.begin(vcpus, false);
    return sink_.flush();
}

void XenFeed::populate(uint64_t page, uint64_t count)
{
    for (const uint64_t end = page + count; page < end;) {
        const uint64_t now = std::min(layout_.pages_in_a_row(page), end - page);
        save_.populate(layout_.frame_of(page), now);
        page += now;
    }
}

Status XenFeed::write_blank(size_t vcpus)
{
    const std::lock_guard lock(mutex_);
    save_.begin(vcpus, false);
    populate(0, sent_.size());
    return save_.write_blank();
}

Status XenFeed::end_blank()
{
    const std::lock_guard lock(mutex_);
    return save_.end_blank();
}

bool XenFeed::write(uint64_t page, std::span<const std::byte> contents)
{
    const std::lock_guard lock(mutex_);
    for (size_t at = 0; at < contents.size(); at += ram_page_size, ++page) {
        save_.page(layout_.frame_of(page), contents.subspan(at, ram_page_size));
        sent_.set(page);
    }
    return sink_.status().has_value();
}

bool XenFeed::discard(uint64_t page, uint64_t count)
{
    static const std::array<std::byte, ram_page_size> zeros{};
    const std::lock_guard lock(mutex_);
    for (const uint64_t end = page + count; page < end; ++page)
        if (sent_.test(page))
            save_.page(layout_.frame_of(page), zeros);
    return sink_.status().has_value();
}

/// Those that hold something: a domain may have little more memory than its RAM.
void XenFeed::write_tables(const state::Memory& tables)
{
    const auto bytes = std::as_bytes(std::span(tables.bytes));
    for (size_t i = 0; i < tables.pages.size(); ++i)
        save_.page(qemu::acpi_hole_frame + tables.pages[i],
                   bytes.subspan(i * ram_page_size, ram_page_size));
}

Status XenFeed::end(const WrittenMachine& machine, const std::optional<state::Memory>& tables)
{
    const std::lock_guard lock(mutex_);
    if (tables)
        write_tables(*tables);
    const uint64_t size = sent_.size();
    for (uint64_t page = sent_.next_clear(0, size), next; page < size;
         page = sent_.next_clear(next, size)) {
        next = sent_.next_set(page, size);
        populate(page, next - page);
    }
    return save_.end(machine);
}

size_t FedRam::write(size_t /*block*/, uint64_t offset, std::span<const std::byte> from)
{
    return feed_->write(offset / ram_page_size, from) ? from.size() : 0;
}

bool FedRam::discard(size_t /*block*/, uint64_t offset, uint64_t length)
{
    return feed_->discard(offset / ram_page_size, length / ram_page_size);
}

} // namespace drover::xen
