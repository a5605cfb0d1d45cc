// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/hvm_records.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr size_t hvm_descriptor_size = 8;
constexpr size_t most_hvm_records = 65'536;

std::unexpected<Error> ends_too_early()
{
    return fail(ErrorKind::Protocol, "the hypervisor's records end where more has to come");
}

} // namespace

std::string_view to_string(HvmType type)
{
    static constexpr std::string_view names[] = {
        "END",       "HEADER",        "CPU",        "PIC",
        "IOAPIC",    "LAPIC",         "LAPIC_REGS", "PCI_IRQ",
        "ISA_IRQ",   "PCI_LINK",      "PIT",        "RTC",
        "HPET",      "PMTIMER",       "MTRR",       "VIRIDIAN_DOMAIN",
        "CPU_XSAVE", "VIRIDIAN_VCPU", "VMCE_VCPU",  "TSC_ADJUST",
        "CPU_MSR"};
    const auto number = static_cast<size_t>(type);
    return number < std::size(names) ? names[number] : std::string_view();
}

const HvmRecord* HvmContext::find(HvmType type, uint16_t instance) const
{
    const auto found = std::ranges::find_if(records, [&](const HvmRecord& record) {
        return record.type == type && record.instance == instance;
    });
    return found != records.end() ? &*found : nullptr;
}

void HvmContext::sort()
{
    std::ranges::stable_sort(records, {}, [](const HvmRecord& record) {
        return std::pair(record.type, record.instance);
    });
}

Result<HvmContext> split_hvm_context(std::span<const std::byte> bytes)
{
    HvmContext context;
    while (bytes.size() >= hvm_descriptor_size) {
        stream::LeReader reader(bytes);
        const auto type = static_cast<HvmType>(reader.take<uint16_t>());
        const auto instance = reader.take<uint16_t>();
        const auto length = reader.take<uint32_t>();
        if (type == HvmType::End) {
            if (length != 0 || !reader.rest().empty())
                return fail(ErrorKind::Protocol, "there is more behind the hypervisor's records");
            return context;
        }
        if (length > reader.rest().size())
            return ends_too_early();
        if (context.records.size() >= most_hvm_records)
            return fail(ErrorKind::Protocol, "more than 65,536 records of the hypervisor");
        const auto body = reader.rest().first(length);
        context.records.push_back({type, instance, {body.begin(), body.end()}});
        bytes = reader.rest().subspan(length);
    }
    return ends_too_early();
}

std::vector<std::byte> join_hvm_context(const HvmContext& context)
{
    std::vector<std::byte> out;
    const auto append = [&out](HvmType type, uint16_t instance, std::span<const std::byte> bytes) {
        stream::append_le(out, static_cast<uint16_t>(type));
        stream::append_le(out, instance);
        stream::append_le(out, static_cast<uint32_t>(bytes.size()));
        out.insert(out.end(), bytes.begin(), bytes.end());
    };
    for (const HvmRecord& record : context.records)
        append(record.type, record.instance, record.bytes);
    append(HvmType::End, 0, {});
    return out;
}

std::string name_of(const HvmRecord& record)
{
    const std::string_view known = to_string(record.type);
    const std::string name =
        known.empty() ? std::to_string(static_cast<unsigned>(record.type)) : std::string(known);
    return name + " " + std::to_string(record.instance);
}

std::unexpected<Error> wrong_size(const HvmRecord& record)
{
    return fail(ErrorKind::Incompatible, "the hypervisor's record " + name_of(record) + " has " +
                                             std::to_string(record.bytes.size()) +
                                             " bytes: not its form in Xen 4.7 and later");
}

} // namespace drover::xen
