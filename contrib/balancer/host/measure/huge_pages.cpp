// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/huge_pages.h"

#include "contrib/balancer/host/measure/words.h"

#include <algorithm>
#include <filesystem>

namespace drover::balancer::measure {

namespace {

/// KiB in "hugepages-2048kB"; 0: it is another name.
double page_kib(std::string_view name)
{
    constexpr std::string_view head = "hugepages-";
    constexpr std::string_view tail = "kB";
    if (!name.starts_with(head) || !name.ends_with(tail))
        return 0;
    name.remove_prefix(head.size());
    name.remove_suffix(tail.size());
    return static_cast<double>(to_number<uint32_t>(name).value_or(0));
}

double number_in(ProcFile& file, ReadBuffer& buffer)
{
    auto text = file.read(buffer);
    return text ? static_cast<double>(to_number<uint64_t>(take_line(*text)).value_or(0)) : 0;
}

} // namespace

HugePages::HugePages(const std::string& root)
{
    std::error_code none; // a kernel without huge pages has no such directory
    const std::filesystem::path top = root + "/sys/kernel/mm/hugepages";
    for (const auto& entry : std::filesystem::directory_iterator(top, none)) {
        const double kib = page_kib(entry.path().filename().string());
        if (kib > 0)
            pools_.push_back({kib * 1024, ProcFile(entry.path() / "nr_hugepages"),
                              ProcFile(entry.path() / "free_hugepages"),
                              ProcFile(entry.path() / "resv_hugepages")});
    }
}

HugePages::Bytes HugePages::read(ReadBuffer& buffer)
{
    Bytes bytes;
    for (Pool& pool : pools_) {
        const double free = number_in(pool.free, buffer) - number_in(pool.reserved, buffer);
        bytes.total += number_in(pool.total, buffer) * pool.page;
        bytes.free += std::max(0.0, free) * pool.page;
    }
    return bytes;
}

} // namespace drover::balancer::measure
