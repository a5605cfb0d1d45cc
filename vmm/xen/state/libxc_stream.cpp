// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/libxc_stream.h"

#include "vmm/xen/state/stream_format.h"

#include <algorithm>
#include <bit>

namespace drover::xen {

namespace {

constexpr uint64_t record_alignment = 8;
constexpr uint64_t highest_frame = uint64_t{1} << 40;
constexpr size_t pages_at_once = 4096; ///< of whose numbers are held at a time
constexpr size_t most_params = 1024;

uint64_t padding_of(uint64_t length)
{
    return -length % record_alignment;
}

bool has_contents(uint32_t type)
{
    return type != PageType::Broken && type != PageType::AllocateOnly && type != PageType::None;
}

class LibxcReader {
public:
    LibxcReader(LittleCursor& cursor, XenState& state) : cursor_(cursor), state_(state) {}

    Status read()
    {
        if (const Status done = read_headers(); !done)
            return done;
        for (;;) {
            const RecordHeader header = take_record_header(cursor_);
            if (!cursor_.status())
                return cursor_.status();
            if (header.length > largest_xen_record)
                return fail(ErrorKind::Protocol, "a record of more than 128 MiB");
            const Status done = read_record(header);
            if (!done || header.type == LibxcRecord::End)
                return done;
        }
    }

private:
    Status read_headers()
    {
        const uint64_t marker = cursor_.take<uint64_t>();
        const uint32_t id = std::byteswap(cursor_.take<uint32_t>());
        const uint32_t version = std::byteswap(cursor_.take<uint32_t>());
        const uint32_t options = std::byteswap(cursor_.take<uint32_t>()) >> 16;
        cursor_.skip(4);
        const uint32_t guest = cursor_.take<uint32_t>();
        const uint16_t page_shift = cursor_.take<uint16_t>();
        cursor_.skip(2);
        state_.xen_major = cursor_.take<uint32_t>();
        state_.xen_minor = cursor_.take<uint32_t>();
        if (!cursor_.status())
            return cursor_.status();
        if (marker != libxc_marker || id != libxc_id)
            return fail(ErrorKind::Protocol, "libxc's part has not its header");
        if (version < libxc_oldest_version || version > libxc_version ||
            (options & libxc_big_endian) != 0)
            return fail(ErrorKind::Refused, "libxc's part is of version " +
                                                std::to_string(version) +
                                                (options != 0 ? ", big-endian" : ""));
        if (guest == LibxcGuest::Pv)
            return fail(ErrorKind::Refused, "it is a PV guest, which runs on Xen only",
                        "only HVM guests can be moved to another hypervisor");
        if (guest != LibxcGuest::Hvm || page_shift != page_shift_4k)
            return fail(ErrorKind::Refused, "it is no x86 HVM guest");
        return {};
    }

    Status read_record(const RecordHeader& header)
    {
        switch (header.type) {
        case LibxcRecord::End: return expect_empty(header);
        case LibxcRecord::PageData: return read_pages(header.length);
        case LibxcRecord::StaticDataEnd: return expect_empty(header);
        case LibxcRecord::CpuidPolicy: return take_bytes(header.length, state_.cpuid_policy);
        case LibxcRecord::MsrPolicy: return take_bytes(header.length, state_.msr_policy);
        case LibxcRecord::TscInfo: return read_tsc(header.length);
        case LibxcRecord::HvmParams: return read_params(header.length);
        case LibxcRecord::HvmContext: return read_context(header.length);
        case LibxcRecord::Verify:
        case LibxcRecord::Checkpoint:
            return fail(ErrorKind::Refused, "it is the stream of a replicated or verified guest",
                        "save the guest with `xl save`");
        default: break;
        }
        if ((header.type & LibxcRecord::Optional) == 0)
            return fail(ErrorKind::Refused, "libxc's record of type " +
                                                std::to_string(header.type) +
                                                ", which is not known here");
        skip_body(header.length);
        return cursor_.status();
    }

    Status expect_empty(const RecordHeader& header)
    {
        if (header.length != 0)
            return fail(ErrorKind::Protocol, "a record that marks an end has contents");
        return {};
    }

    void skip_body(uint32_t length) { cursor_.skip(length + padding_of(length)); }

    Status take_bytes(uint32_t length, std::vector<std::byte>& target)
    {
        target = take_record_body(cursor_, length);
        return cursor_.status();
    }

    Status read_tsc(uint32_t length)
    {
        static constexpr uint32_t tsc_info_size = 24;
        if (length != tsc_info_size)
            return record_is_cut_off();
        TscInfo tsc;
        tsc.mode = cursor_.take<uint32_t>();
        tsc.khz = cursor_.take<uint32_t>();
        tsc.elapsed = cursor_.take<uint64_t>();
        tsc.incarnation = cursor_.take<uint32_t>();
        cursor_.skip(4);
        state_.tsc = tsc;
        return cursor_.status();
    }

    Status read_params(uint32_t length)
    {
        static constexpr uint64_t header_size = 8;
        static constexpr uint64_t param_size = 16;
        const uint32_t count = cursor_.take<uint32_t>();
        cursor_.skip(4);
        if (count > most_params || length != header_size + count * param_size)
            return record_is_cut_off();
        state_.params.clear();
        for (uint32_t i = 0; i < count && cursor_.status(); ++i) {
            const uint64_t index = cursor_.take<uint64_t>();
            state_.params.push_back({index, cursor_.take<uint64_t>()});
        }
        return cursor_.status();
    }

    Status read_context(uint32_t length)
    {
        const auto body = take_record_body(cursor_, length);
        if (!cursor_.status())
            return cursor_.status();
        auto context = split_hvm_context(body);
        if (!context)
            return std::unexpected(std::move(context.error()));
        state_.hvm = std::move(*context);
        return {};
    }

    Status read_pages(uint32_t length)
    {
        static constexpr uint64_t header_size = 8;
        const uint64_t end = cursor_.at() + length;
        const uint32_t count = cursor_.take<uint32_t>();
        cursor_.skip(4);
        const uint64_t numbers = count * sizeof(uint64_t);
        if (count == 0 || length < header_size + numbers || length - 8 > cursor_.left())
            return record_is_cut_off();
        contents_ = cursor_.at() + numbers;
        for (uint64_t done = 0; done < count; done += pages_at_once)
            if (const Status read =
                    read_some_pages(std::min<uint64_t>(count - done, pages_at_once), end);
                !read)
                return read;
        if (contents_ != end)
            return fail(ErrorKind::Protocol, "a record of pages has not as many as it tells");
        cursor_.skip(end - cursor_.at() + padding_of(length));
        return cursor_.status();
    }

    Status read_some_pages(size_t count, uint64_t end)
    {
        const auto numbers = cursor_.bytes(count * sizeof(uint64_t));
        if (!cursor_.status())
            return cursor_.status();
        for (size_t i = 0; i < count; ++i) {
            const uint64_t entry = stream::load_le<uint64_t>(&numbers[i * sizeof(uint64_t)]);
            const uint64_t frame = entry & page_number_mask;
            const auto type = static_cast<uint32_t>(entry >> page_type_shift);
            if (frame >= highest_frame ||
                (type >= PageType::FirstReserved && type <= PageType::LastReserved))
                return fail(ErrorKind::Protocol, "a page that cannot be: " + std::to_string(entry));
            if (has_contents(type) && end - contents_ < state::frame_size)
                return record_is_cut_off();
            if (const Status put = put_page(frame, type); !put)
                return put;
        }
        return {};
    }

    Status put_page(uint64_t frame, uint32_t type)
    {
        switch (type) {
        case PageType::Broken:
            return fail(ErrorKind::Refused, "a page of the guest's memory is broken");
        case PageType::AllocateOnly: state_.pages.put_empty(frame, 1); break;
        case PageType::None: state_.pages.remove(frame, 1); break;
        default: state_.pages.put(frame, 1, contents_); contents_ += state::frame_size;
        }
        return {};
    }

    LittleCursor& cursor_;
    XenState& state_;
    uint64_t contents_ = 0; ///< where those of the next page are
};

} // namespace

RecordHeader take_record_header(LittleCursor& cursor)
{
    RecordHeader header;
    header.type = cursor.take<uint32_t>();
    header.length = cursor.take<uint32_t>();
    return header;
}

std::vector<std::byte> take_record_body(LittleCursor& cursor, uint32_t length)
{
    auto body = cursor.bytes(length);
    cursor.skip(padding_of(length));
    return body;
}

std::unexpected<Error> record_is_cut_off()
{
    return fail(ErrorKind::Protocol, "a record has not its form");
}

Status read_libxc_stream(LittleCursor& cursor, XenState& state)
{
    return LibxcReader(cursor, state).read();
}

} // namespace drover::xen
