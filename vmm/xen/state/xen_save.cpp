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

bool is_own(uint64_t frame)
{
    return (frame >= OwnFrame::First && frame < OwnFrame::End) ||
           (frame >= vga_window && frame < vga_window_end);
}

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

class SaveWriter {
public:
    SaveWriter(const WrittenMachine& machine, const state::GuestPages& pages, const XenGuest& guest,
               ByteSink& sink)
        : machine_(machine), pages_(pages), guest_(guest), sink_(sink)
    {
        if (const HvmRecord* record = machine.hvm.find(HvmType::Header))
            if (const auto header = decode_record<HvmHeader>(*record))
                tsc_khz_ = header->tsc_khz;
    }

    Status write()
    {
        write_xl_header();
        sink_.write_text(libxl_magic);
        sink_.big_endian(4, libxl_version);
        sink_.big_endian(4, 0); // options: little-endian
        write_record(LibxlRecord::LibxcContext, {});
        write_libxc_header();
        if (const Status done = write_pages(); !done)
            return done;
        write_tsc_info();
        write_params();
        write_record(LibxcRecord::HvmContext, join_hvm_context(machine_.hvm));
        write_record(LibxcRecord::End, {});
        write_model_record();
        write_record(LibxlRecord::End, {});
        return sink_.flush();
    }

private:
    void write_record(uint32_t type, std::span<const std::byte> body)
    {
        sink_.little_endian(4, type);
        sink_.little_endian(4, body.size());
        sink_.write(body);
        const std::array<std::byte, word> padding = {};
        sink_.write(std::span(padding).first(-body.size() % word));
    }

    [[nodiscard]] size_t vcpus() const
    {
        return static_cast<size_t>(
            std::ranges::count(machine_.hvm.records, HvmType::LapicRegisters, &HvmRecord::type));
    }

    void write_xl_header()
    {
        std::string config = dump_json(xl_config(guest_, vcpus(), tsc_khz_ == 0), true);
        config.push_back('\0');
        sink_.write_text(xl_magic);
        sink_.little_endian(4, xl_byte_order);
        sink_.little_endian(4, XlFlag::All);
        sink_.little_endian(4, 0); // flags that may be overlooked
        sink_.little_endian(4, config.size() + sizeof(uint32_t));
        sink_.little_endian(4, config.size());
        sink_.write_text(config);
    }

    void write_libxc_header()
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

    Status write_pages()
    {
        for (const state::FrameRange& range : pages_.ranges())
            for (uint64_t frame = range.first; frame < range.first + range.count; ++frame) {
                if (is_own(frame))
                    continue;
                std::array<std::byte, state::frame_size> page = {};
                if (!pages_.is_zero(frame))
                    if (const Status read = pages_.read(frame, page); !read)
                        return read;
                hold_page(frame, page);
                if (!sink_.status())
                    return sink_.status();
            }
        const std::vector<std::byte> empty(state::frame_size);
        for (uint64_t frame = OwnFrame::First; frame < OwnFrame::End; ++frame)
            hold_page(frame, frame == OwnFrame::IdentityTable ? identity_table() : empty);
        write_held_pages();
        return sink_.status();
    }

    void hold_page(uint64_t frame, std::span<const std::byte> page)
    {
        frames_.push_back(frame);
        contents_.insert(contents_.end(), page.begin(), page.end());
        if (frames_.size() == pages_a_record)
            write_held_pages();
    }

    void write_held_pages()
    {
        if (frames_.empty())
            return;
        std::vector<std::byte> body;
        stream::append_le(body, uint64_t{frames_.size()});
        for (const uint64_t frame : frames_)
            stream::append_le(body, frame);
        body.insert(body.end(), contents_.begin(), contents_.end());
        write_record(LibxcRecord::PageData, body);
        frames_.clear();
        contents_.clear();
    }

    /// If the guest's TSC has a speed that is known, Xen makes it so, be it by emulation.
    void write_tsc_info()
    {
        std::vector<std::byte> body;
        stream::append_le(body, tsc_khz_ == 0 ? tsc_native : tsc_default);
        stream::append_le(body, tsc_khz_);
        stream::append_le(body, uint64_t{0});
        stream::append_le(body, first_incarnation);
        stream::append_le(body, uint32_t{0});
        write_record(LibxcRecord::TscInfo, body);
    }

    void write_params()
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

    void write_model_record()
    {
        std::vector<std::byte> body;
        stream::append_le(body, upstream_qemu);
        stream::append_le(body, uint32_t{0}); // the first one
        const auto model = join_model(machine_.model);
        body.insert(body.end(), model.begin(), model.end());
        write_record(LibxlRecord::EmulatorContext, body);
    }

    const WrittenMachine& machine_;
    const state::GuestPages& pages_;
    const XenGuest& guest_;
    ByteSink& sink_;
    uint32_t tsc_khz_ = 0;
    std::vector<uint64_t> frames_;    ///< of the record that is being filled
    std::vector<std::byte> contents_; ///< theirs
};

} // namespace

Status write_xen_save(const WrittenMachine& machine, const state::GuestPages& pages,
                      const XenGuest& guest, ByteSink& sink)
{
    return SaveWriter(machine, pages, guest, sink).write();
}

} // namespace drover::xen
