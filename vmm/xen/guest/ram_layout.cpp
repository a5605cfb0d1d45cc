// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/ram_layout.h"

namespace drover::xen {

namespace {

constexpr uint64_t usual_hole = 256ULL << 20; ///< bytes; of xl.cfg's mmio_hole

Json object_of(const Json& object, const char* member)
{
    const auto found = object.find(member);
    return found != object.end() && found->is_object() ? *found : Json::object();
}

} // namespace

qemu::PcMemory ram_layout(uint64_t memory, const Json& config)
{
    const Json machine = object_of(object_of(config, "b_info"), "type.hvm");
    const uint64_t hole = json_u64(machine, "mmio_hole_memkb") << 10;
    return qemu::PcMemory::beside_hole(memory, hole == 0 ? usual_hole : hole);
}

uint64_t hole_for(const qemu::PcMemory& layout)
{
    const bool fits = layout == qemu::PcMemory::beside_hole(layout.size, usual_hole);
    return fits ? 0 : (qemu::four_gib - layout.low) >> 20;
}

qemu::PcMemory layout_of_source(const Json& source, uint64_t memory)
{
    return qemu::PcMemory::of(memory,
                              json_u64(source, "max_ram_below_4g", qemu::PcMemory::usual_limit));
}

Status check_layout(const Json& source, const qemu::PcMemory& domain)
{
    const qemu::PcMemory guest = layout_of_source(source, domain.size);
    if (guest == domain)
        return {};
    const uint64_t hole = hole_for(guest);
    return fail(ErrorKind::Incompatible,
                "the guest has " + std::to_string(guest.low >> 20) +
                    " MiB of its memory below 4 GiB, and the domain of this configuration " +
                    std::to_string(domain.low >> 20) + " MiB",
                hole == 0 ? "leave mmio_hole out of the configuration"
                          : "write mmio_hole=" + std::to_string(hole) + " into the configuration");
}

} // namespace drover::xen
