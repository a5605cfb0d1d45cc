// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/ram_sample.h"

#include <array>
#include <random>
#include <string>

namespace drover {

Status look_at_sample(std::span<const RamBlock> ram, const PageDigests& digests,
                      std::span<const Stripe> stripes,
                      const std::function<bool(size_t block, uint64_t page)>& passes_over)
{
    uint64_t pages = 0;
    for (const Stripe& stripe : stripes)
        pages += stripe.end - stripe.first;
    const uint64_t step = std::max<uint64_t>(pages / looked_at_pages, 1);
    std::random_device chance;
    uint64_t skipped = step > 1 ? chance() % step : 0; // until the first one
    std::array<std::byte, ram_page_size> data;
    for (const Stripe& stripe : stripes) {
        uint64_t page = stripe.first + skipped;
        for (; page < stripe.end; page += step) {
            if (passes_over(stripe.block, page))
                continue;
            if (Status read = read_ram(ram[stripe.block], page * ram_page_size, data); !read)
                return read;
            if (!digests.is_same(stripe.block, page, data.data()))
                return fail(ErrorKind::Machine, "page " + std::to_string(page) + " of RAM block " +
                                                    ram[stripe.block].name +
                                                    " is not what was sent last, although it did "
                                                    "not show as written");
        }
        skipped = page - stripe.end;
    }
    return {};
}

} // namespace drover
