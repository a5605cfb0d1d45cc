// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/xen_state.h"

#include "vmm/xen/state/libxc_stream.h"
#include "vmm/xen/state/stream_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace drover::xen {

namespace {

constexpr uint32_t largest_config = 16U << 20; // bytes
constexpr size_t most_xenstore_texts = 4096;
constexpr size_t emulator_header_size = 8;

std::string_view text_of(std::span<const std::byte> bytes)
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class XenStateReader {
public:
    explicit XenStateReader(const ByteSource& source) : cursor_(source, 0) {}

    Result<XenState> read()
    {
        Status done = read_xl_header();
        if (done)
            done = read_libxl_header();
        while (done && !at_end_)
            done = read_libxl_record();
        if (!done)
            return std::unexpected(std::move(done.error()));
        if (state_.hvm.records.empty() || state_.model.empty())
            return fail(ErrorKind::Protocol, "it has no state of the hypervisor or of the devices");
        return std::move(state_);
    }

private:
    Status read_xl_header()
    {
        const auto magic = cursor_.bytes(xl_magic.size());
        const uint32_t byte_order = cursor_.take<uint32_t>();
        const uint32_t mandatory = cursor_.take<uint32_t>();
        (void)cursor_.take<uint32_t>(); // flags that may be overlooked
        const uint32_t length = cursor_.take<uint32_t>();
        if (!cursor_.status())
            return cursor_.status();
        if (text_of(magic) != xl_magic)
            return fail(ErrorKind::Invalid, "it is no file of `xl save`");
        if (byte_order != xl_byte_order)
            return fail(ErrorKind::Refused, "it was saved on a big-endian machine");
        if ((mandatory & ~XlFlag::All) != 0)
            return fail(ErrorKind::Refused, "xl's header asks for what is not known here");
        if ((mandatory & XlFlag::StreamV2) == 0)
            return fail(ErrorKind::Refused, "it is in Xen's legacy format (before 4.6)",
                        "restore it on Xen and save it there again");
        return read_config(length, (mandatory & XlFlag::Json) != 0);
    }

    Status read_config(uint32_t length, bool is_json)
    {
        static constexpr uint32_t size_field = 4;
        if (length == 0)
            return {};
        if (length < size_field || length > largest_config)
            return fail(ErrorKind::Protocol, "xl's configuration has no possible length");
        const uint32_t size = cursor_.take<uint32_t>();
        auto text = cursor_.bytes(length - size_field);
        if (!cursor_.status())
            return cursor_.status();
        if (size > text.size())
            return fail(ErrorKind::Protocol, "xl's configuration is cut off");
        text.resize(size);
        while (!text.empty() && text.back() == std::byte{0})
            text.pop_back();
        if (!is_json)
            return fail(ErrorKind::Refused, "its configuration is not JSON, as Xen 4.5's is not");
        auto config = parse_json(text_of(text));
        if (!config)
            return std::unexpected(std::move(config.error()).in("xl's configuration"));
        state_.config = std::move(*config);
        return {};
    }

    Status read_libxl_header()
    {
        const auto magic = cursor_.bytes(libxl_magic.size());
        const uint32_t version = std::byteswap(cursor_.take<uint32_t>());
        const uint32_t options = std::byteswap(cursor_.take<uint32_t>());
        if (!cursor_.status())
            return cursor_.status();
        if (text_of(magic) != libxl_magic)
            return fail(ErrorKind::Protocol, "libxl's part has not its header");
        if (version != libxl_version || (options & LibxlOption::BigEndian) != 0)
            return fail(ErrorKind::Refused,
                        "libxl's part is of version " + std::to_string(version));
        if ((options & LibxlOption::Legacy) != 0)
            return fail(ErrorKind::Refused, "it was converted from Xen's legacy format",
                        "restore it on Xen and save it there again");
        return {};
    }

    Status read_libxl_record()
    {
        const RecordHeader header = take_record_header(cursor_);
        if (!cursor_.status())
            return cursor_.status();
        if (header.length > largest_xen_record)
            return fail(ErrorKind::Protocol, "a record of more than 128 MiB");
        const auto body = take_record_body(cursor_, header.length);
        if (!cursor_.status())
            return cursor_.status();
        switch (header.type) {
        case LibxlRecord::End: at_end_ = true; return {};
        case LibxlRecord::LibxcContext: return read_libxc_stream(cursor_, state_);
        case LibxlRecord::EmulatorXenstore: return read_xenstore(body);
        case LibxlRecord::EmulatorContext: return read_model(body);
        default:
            return fail(ErrorKind::Refused, "libxl's record of type " +
                                                std::to_string(header.type) +
                                                ", which is not known here");
        }
    }

    static Status expect_upstream_qemu(std::span<const std::byte> body)
    {
        if (body.size() < emulator_header_size)
            return record_is_cut_off();
        stream::LeReader reader(body);
        if (reader.take<uint32_t>() != upstream_qemu || reader.take<uint32_t>() != 0)
            return fail(ErrorKind::Refused,
                        "its device model is not QEMU as Xen 4.4 and later have it");
        return {};
    }

    Status read_model(std::span<const std::byte> body)
    {
        if (const Status known = expect_upstream_qemu(body); !known)
            return known;
        auto sections = split_model(body.subspan(emulator_header_size));
        if (!sections)
            return std::unexpected(std::move(sections.error()));
        state_.model = std::move(*sections);
        return {};
    }

    Status read_xenstore(std::span<const std::byte> body)
    {
        if (const Status known = expect_upstream_qemu(body); !known)
            return known;
        std::string_view rest = text_of(body.subspan(emulator_header_size));
        while (!rest.empty()) {
            const size_t end = rest.find('\0');
            if (end == std::string_view::npos || state_.xenstore.size() >= most_xenstore_texts)
                return record_is_cut_off();
            state_.xenstore.emplace_back(rest.substr(0, end));
            rest.remove_prefix(end + 1);
        }
        return {};
    }

    LittleCursor cursor_;
    bool at_end_ = false;
    XenState state_;
};

} // namespace

bool is_xen_save(const ByteSource& source)
{
    std::array<std::byte, xl_magic.size()> magic = {};
    return source.size() >= magic.size() && source.read(0, magic) && text_of(magic) == xl_magic;
}

Result<XenState> read_xen_state(const ByteSource& source)
{
    return XenStateReader(source).read();
}

Status XenPages::read(uint64_t frame, state::FrameBytes target) const
{
    if (const auto at = index_.find(frame))
        return source_.read(*at, target);
    if (!index_.has(frame))
        return fail(ErrorKind::Invalid, "there is no frame " + std::to_string(frame));
    std::ranges::fill(target, std::byte{0});
    return {};
}

bool XenPages::is_zero(uint64_t frame) const
{
    return index_.has(frame) && !index_.find(frame);
}

} // namespace drover::xen
