// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/xen_save.h"

#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/stream_format.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr uint32_t written_xen_major = 4; ///< whose formats these are
constexpr uint32_t written_xen_minor = 17;
constexpr uint64_t pages_a_record = 256; ///< so that a MiB is held
constexpr size_t word = sizeof(uint64_t);

/// Frames of Xen's own, where its tools put them (tools/libs/guest/xg_dom_x86.c): below 4 GiB less
/// 16 MiB.
struct OwnFrame {
    enum : uint64_t {
        IoreqServers = 0xfeff0,
        Paging = 0xfeff8,
        Monitor = 0xfeff9,
        Sharing = 0xfeffa,
        BufferedIoreq = 0xfeffb,
        Store = 0xfeffc,
        Ioreq = 0xfeffd,
        IdentityTable = 0xfeffe,
        Console = 0xfefff,
        First = IoreqServers,
        End = Console + 1,
    };
};
constexpr uint64_t ioreq_servers = 8;
/// Accesses to these go to the device model, and so must not find memory.
constexpr uint64_t vga_window = 0xa0;
constexpr uint64_t vga_window_end = 0xc0;

constexpr uint64_t newer_acpi_ports = 1; ///< 0xb000
constexpr uint32_t tsc_default = 0;
constexpr uint32_t tsc_native = 2;
constexpr uint32_t first_incarnation = 1;

/// 4 MiB pages, each to itself: with it Intel's older CPUs run a guest that has paging off.
std::vector<std::byte> identity_table()
{
    static constexpr uint32_t entries = 1024;
    static constexpr uint32_t present_large_page = 0xe7; // writable, for users, accessed, dirty
    std::vector<std::byte> table;
    for (uint32_t i = 0; i < entries; ++i)
        stream::append_le(table, i << 22 | present_large_page);
    return table;
}

uint32_t tsc_khz_of(const WrittenMachine& machine)
{
    if (const HvmRecord* record = machine.hvm.find(HvmType::Header))
        if (const auto header = decode_record<HvmHeader>(*record))
            return header->tsc_khz;
    return 0;
}

size_t vcpus_of(const WrittenMachine& machine)
{
    return static_cast<size_t>(
        std::ranges::count(machine.hvm.records, HvmType::LapicRegisters, &HvmRecord::type));
}

Status write_pages(const state::GuestPages& pages, SaveStream& stream, const ByteSink& sink)
{
    for (const state::FrameRange& range : pages.ranges())
        for (uint64_t frame = range.first; frame < range.first + range.count; ++frame) {
            std::array<std::byte, state::frame_size> page = {};
            if (!is_xens_own(frame) && !pages.is_zero(frame))
                if (Status read = pages.read(frame, page); !read)
                    return read;
            stream.page(frame, page);
            if (!sink.status())
                return sink.status();
        }
    return {};
}

} // namespace

bool is_xens_own(uint64_t frame)
{
    return (frame >= OwnFrame::First && frame < OwnFrame::End) ||
           (frame >= vga_window && frame < vga_window_end);
}

TscInfo tsc_info_of(const WrittenMachine& machine)
{
    const uint32_t khz = tsc_khz_of(machine);
    return {
        .mode = khz == 0 ? tsc_native : tsc_default, .khz = khz, .incarnation = first_incarnation};
}

void SaveStream::begin(size_t vcpus, bool native_tsc)
{
    write_xl_header(vcpus, native_tsc);
    sink_.write_text(libxl_magic);
    sink_.big_endian(4, libxl_version);
    sink_.big_endian(4, 0); // options: little-endian
    write_record(LibxlRecord::LibxcContext, {});
    write_libxc_header();
}

void SaveStream::page(uint64_t frame, std::span<const std::byte> contents)
{
    if (!is_xens_own(frame))
        hold(frame, contents);
}

void SaveStream::populate(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count; ++frame)
        if (!is_xens_own(frame))
            hold(frame | uint64_t{PageType::AllocateOnly} << page_type_shift, {});
}

Status SaveStream::end(const WrittenMachine& machine)
{
    write_own_pages();
    write_held_pages();
    write_tsc_info(tsc_info_of(machine));
    write_params();
    write_record(LibxcRecord::HvmContext, join_hvm_context(machine.hvm));
    write_record(LibxcRecord::End, {});
    write_model_record(machine.model);
    write_record(LibxlRecord::End, {});
    return sink_.flush();
}

Status SaveStream::write_blank()
{
    HvmContext blank;
    blank.add(HvmType::Header, 0, HvmHeader{});
    write_own_pages();
    write_held_pages();
    write_params();
    write_record(LibxcRecord::HvmContext, join_hvm_context(blank));
    return sink_.flush();
}

Status SaveStream::end_blank()
{
    write_record(LibxcRecord::End, {});
    write_record(LibxlRecord::End, {});
    return sink_.flush();
}

void SaveStream::write_record(uint32_t type, std::span<const std::byte> body)
{
    sink_.little_endian(4, type);
    sink_.little_endian(4, body.size());
    sink_.write(body);
    const std::array<std::byte, word> padding = {};
    sink_.write(std::span(padding).first(-body.size() % word));
}

void SaveStream::write_xl_header(size_t vcpus, bool native_tsc)
{
    std::string config = dump_json(xl_config(guest_, vcpus, native_tsc), true);
    config.push_back('\0');
    sink_.write_text(xl_magic);
    sink_.little_endian(4, xl_byte_order);
    sink_.little_endian(4, XlFlag::All);
    sink_.little_endian(4, 0); // flags that may be overlooked
    sink_.little_endian(4, config.size() + sizeof(uint32_t));
    sink_.little_endian(4, config.size());
    sink_.write_text(config);
}

void SaveStream::write_libxc_header()
{
    sink_.little_endian(8, libxc_marker);
    sink_.big_endian(4, libxc_id);
    sink_.big_endian(4, libxc_version);
    sink_.big_endian(8, 0); // options: little-endian
    sink_.little_endian(4, LibxcGuest::Hvm);
    sink_.little_endian(4, page_shift_4k);
    sink_.little_endian(4, written_xen_major);
    sink_.little_endian(4, written_xen_minor);
    // Without them libxl takes what the guest's configuration says.
    if (!guest_.cpuid_policy.empty())
        write_record(LibxcRecord::CpuidPolicy, guest_.cpuid_policy);
    if (!guest_.msr_policy.empty())
        write_record(LibxcRecord::MsrPolicy, guest_.msr_policy);
    write_record(LibxcRecord::StaticDataEnd, {});
}

void SaveStream::hold(uint64_t entry, std::span<const std::byte> contents)
{
    entries_.push_back(entry);
    contents_.insert(contents_.end(), contents.begin(), contents.end());
    if (entries_.size() == pages_a_record)
        write_held_pages();
}

void SaveStream::write_held_pages()
{
    if (entries_.empty())
        return;
    std::vector<std::byte> body;
    stream::append_le(body, uint64_t{entries_.size()});
    for (const uint64_t entry : entries_)
        stream::append_le(body, entry);
    body.insert(body.end(), contents_.begin(), contents_.end());
    write_record(LibxcRecord::PageData, body);
    entries_.clear();
    contents_.clear();
}

void SaveStream::write_own_pages()
{
    const std::vector<std::byte> empty(state::frame_size);
    for (uint64_t frame = OwnFrame::First; frame < OwnFrame::End; ++frame)
        hold(frame, frame == OwnFrame::IdentityTable ? identity_table() : empty);
}

void SaveStream::write_tsc_info(const TscInfo& tsc)
{
    std::vector<std::byte> body;
    stream::append_le(body, tsc.mode);
    stream::append_le(body, tsc.khz);
    stream::append_le(body, tsc.elapsed);
    stream::append_le(body, tsc.incarnation);
    stream::append_le(body, uint32_t{0});
    write_record(LibxcRecord::TscInfo, body);
}

void SaveStream::write_params()
{
    static constexpr HvmParam params[] = {
        {HvmParamIndex::StoreFrame, OwnFrame::Store},
        {HvmParamIndex::IoreqFrame, OwnFrame::Ioreq},
        {HvmParamIndex::BufferedIoreqFrame, OwnFrame::BufferedIoreq},
        {HvmParamIndex::PagingRing, OwnFrame::Paging},
        {HvmParamIndex::MonitorRing, OwnFrame::Monitor},
        {HvmParamIndex::SharingRing, OwnFrame::Sharing},
        {HvmParamIndex::ConsoleFrame, OwnFrame::Console},
        {HvmParamIndex::AcpiPorts, newer_acpi_ports},
        {HvmParamIndex::IdentityTable, OwnFrame::IdentityTable * state::frame_size},
        {HvmParamIndex::IoreqServerFrame, OwnFrame::IoreqServers},
        {HvmParamIndex::IoreqServerFrames, ioreq_servers},
    };
    std::vector<std::byte> body;
    stream::append_le(body, uint64_t{std::size(params)});
    for (const HvmParam& param : params) {
        stream::append_le(body, param.index);
        stream::append_le(body, param.value);
    }
    write_record(LibxcRecord::HvmParams, body);
}

void SaveStream::write_model_record(std::span<const ModelSection> model)
{
    std::vector<std::byte> body;
    stream::append_le(body, upstream_qemu);
    stream::append_le(body, uint32_t{0}); // the first one
    const auto sections = join_model(model);
    body.insert(body.end(), sections.begin(), sections.end());
    write_record(LibxlRecord::EmulatorContext, body);
}

Status write_xen_save(const WrittenMachine& machine, const state::GuestPages& pages,
                      const XenGuest& guest, ByteSink& sink)
{
    SaveStream stream(guest, sink);
    stream.begin(vcpus_of(machine), tsc_khz_of(machine) == 0);
    if (Status written = write_pages(pages, stream, sink); !written)
        return written;
    return stream.end(machine);
}

} // namespace drover::xen
