// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/qemu_state.h"

#include "vmm/qemu/state/saved_ram.h"
#include "vmm/qemu/state/stream_marks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

namespace drover::qemu {

namespace {

constexpr uint64_t stream_magic = 0x5145564d; // "QEVM"
constexpr uint64_t stream_version = 3;
constexpr size_t most_sections = 65'536;
constexpr uint64_t largest_description = 64U << 20; // bytes
constexpr uint64_t usual_description = 128U << 10;  // bytes, of a few dozen devices
constexpr uint64_t description_head = 5;            // bytes: its mark, its length

/// virsh's file begins with a header of its own: a magic, a version, and how long the domain's XML
/// is that follows; numbers are the host's, so little-endian here (libvirt, qemu_saveimage.h).
constexpr std::string_view virsh_magic = "LibvirtQemudSave";
constexpr uint64_t virsh_header_size = 92;

class StateReader {
public:
    StateReader(const ByteSource& source, uint64_t begin, std::shared_ptr<const StateLayout> layout,
                uint64_t end, Pages pages)
        : cursor_(source, begin), end_(end), ram_(pages)
    {
        state_.at = begin;
        state_.page_size = layout->page_size();
        state_.layout = std::move(layout);
    }

    Result<QemuState> read()
    {
        cursor_.skip(4); // the magic, which was looked at
        if (const uint64_t version = cursor_.integer(4); version != stream_version)
            return fail(ErrorKind::Refused, "a stream of version " + std::to_string(version));
        while (cursor_.at() < end_) {
            const uint64_t mark = cursor_.integer(1);
            if (mark == Mark::End && cursor_.status())
                return std::move(state_);
            if (const Status done = read_part(mark); !done)
                return std::unexpected(done.error());
            if (!cursor_.status())
                return std::unexpected(cursor_.status().error());
        }
        return fail(ErrorKind::Protocol, "the stream has no end");
    }

private:
    Status read_part(uint64_t mark)
    {
        switch (mark) {
        case Mark::Configuration: return read_configuration();
        case Mark::Command:
            cursor_.skip(2); // which
            cursor_.skip(cursor_.integer(2));
            return {};
        case Mark::SectionStart:
        case Mark::SectionFull: return begin_section(mark);
        case Mark::SectionPart:
        case Mark::SectionEnd: return go_on_with_section();
        default:
            return fail(ErrorKind::Protocol,
                        "byte " + std::to_string(cursor_.at() - 1) +
                            " begins no part of a stream: " + std::to_string(mark));
        }
    }

    Status read_configuration()
    {
        state_.machine = cursor_.text(cursor_.integer(4));
        while (cursor_.peek() == Mark::Subsection)
            if (const Status done = read_configuration_part(); !done)
                return done;
        return {};
    }

    Status read_configuration_part()
    {
        cursor_.skip(1); // the mark
        const std::string name = cursor_.short_text();
        cursor_.skip(4); // the version
        if (name == "configuration/target-page-bits") {
            cursor_.skip(4);
        } else if (name == "configuration/uuid") {
            cursor_.skip(16);
        } else if (name == "configuration/capabilities") {
            const uint64_t count = cursor_.integer(4);
            for (uint64_t i = 0; i < count && cursor_.status(); ++i)
                state_.capabilities.push_back(cursor_.short_text());
        } else if (cursor_.status()) {
            return fail(ErrorKind::Refused, "it has " + name + ", which is not known here");
        }
        return cursor_.status();
    }

    Status begin_section(uint64_t mark)
    {
        if (state_.sections_at == 0)
            state_.sections_at = cursor_.at() - 1;
        const uint64_t id = cursor_.integer(4);
        const std::string name = cursor_.short_text();
        const uint64_t instance = cursor_.integer(4);
        const uint64_t version = cursor_.integer(4);
        if (!cursor_.status())
            return cursor_.status();
        if (name == "ram" && mark == Mark::SectionStart) {
            ram_section_ = id;
            return read_ram_part(id);
        }
        auto layout = state_.layout->section(name, instance, cursor_.at());
        if (!layout)
            return std::unexpected(layout.error());
        if (!*layout)
            return fail(ErrorKind::Refused,
                        name + " is not described in the stream, so nobody knows its end");
        if (state_.sections.size() >= most_sections)
            return fail(ErrorKind::Protocol, "more than 65,536 sections");
        cursor_.skip((*layout)->size);
        state_.sections.push_back({name, instance, version, std::move(**layout)});
        return read_footer(id, name);
    }

    Status go_on_with_section()
    {
        const uint64_t id = cursor_.integer(4);
        if (id != ram_section_)
            return fail(ErrorKind::Refused,
                        "it has parts of a section other than RAM, which are not read");
        return read_ram_part(id);
    }

    Status read_ram_part(uint64_t id)
    {
        if (const Status done = ram_.read_part(cursor_, state_); !done)
            return done;
        return read_footer(id, "ram");
    }

    Status read_footer(uint64_t id, const std::string& name)
    {
        const uint64_t mark = cursor_.integer(1);
        const uint64_t footer = cursor_.integer(4);
        if (cursor_.status() && (mark != Mark::Footer || footer != id))
            return fail(ErrorKind::Protocol,
                        name + " does not end where the stream's description says, at byte " +
                            std::to_string(cursor_.at() - 5));
        return cursor_.status();
    }

    ByteCursor cursor_;
    uint64_t end_;
    SavedRamReader ram_;
    uint64_t ram_section_ = UINT64_MAX;
    QemuState state_;
};

struct FoundDescription {
    std::shared_ptr<const StateLayout> layout;
    uint64_t at = 0; ///< where its mark is
};

/// The last `size` bytes: the source's own where it holds them.
class Tail {
public:
    Tail(const ByteSource& source, uint64_t size) : begin_(source.size() - size)
    {
        bytes_ = source.held();
        if (!bytes_.empty()) {
            bytes_ = bytes_.last(size);
            return;
        }
        auto copy = std::make_shared_for_overwrite<std::byte[]>(size);
        read_ = source.read(begin_, {copy.get(), size});
        bytes_ = {copy.get(), size};
        owner_ = std::move(copy);
    }
    [[nodiscard]] const Status& status() const { return read_; }

    /// The last description that begins in the first `size` bytes.
    [[nodiscard]] std::optional<FoundDescription> find(uint64_t size) const
    {
        while (const auto* mark = static_cast<const std::byte*>(
                   memrchr(bytes_.data(), Mark::Description, std::exchange(size, 0)))) {
            size = static_cast<uint64_t>(mark - bytes_.data());
            if (bytes_.size() - size < description_head)
                continue;
            const auto text = bytes_.subspan(size + description_head);
            if (length_at(size) != text.size())
                continue;
            auto layout = StateLayout::parse(
                {reinterpret_cast<const char*>(text.data()), text.size()}, owner_);
            if (layout)
                return FoundDescription{std::move(*layout), begin_ + size};
        }
        return std::nullopt;
    }

private:
    [[nodiscard]] uint64_t length_at(uint64_t mark) const
    {
        uint64_t length = 0;
        for (uint64_t i = 1; i < description_head; ++i)
            length = length << 8 | std::to_integer<uint64_t>(bytes_[mark + i]);
        return length;
    }

    uint64_t begin_;
    std::span<const std::byte> bytes_;
    std::shared_ptr<const void> owner_;
    Status read_;
};

/// Behind the stream, to the very end: its mark, its length, its text. Found from behind, since
/// what is before it can only be read with its help.
Result<FoundDescription> find_description(const ByteSource& source)
{
    const uint64_t most = std::min(source.size(), largest_description);
    uint64_t seen = 0;
    for (uint64_t size = std::min(most, usual_description);; size = std::min(most, 8 * size)) {
        const Tail tail(source, size);
        if (!tail.status())
            return std::unexpected(tail.status().error());
        if (auto found = tail.find(size - seen))
            return std::move(*found);
        if (size == most)
            return fail(ErrorKind::Refused, "it has no description of itself at its end",
                        "was it cut off? Xen's machines leave it out, and so does "
                        "-machine suppress-vmdesc=on");
        seen = size;
    }
}

/// Where QEMU's stream begins: behind virsh's header and XML, if it has them.
Result<uint64_t> find_stream(const ByteSource& source)
{
    std::array<std::byte, virsh_header_size> header = {};
    const size_t size = std::min<uint64_t>(header.size(), source.size());
    if (const Status read = source.read(0, std::span(header).first(size)); !read)
        return std::unexpected(read.error());
    if (size < header.size() ||
        std::memcmp(header.data(), virsh_magic.data(), virsh_magic.size()) != 0)
        return 0;
    uint32_t xml_size = 0;
    uint32_t compressed = 0;
    std::memcpy(&xml_size, header.data() + virsh_magic.size() + 4, sizeof xml_size);
    std::memcpy(&compressed, header.data() + virsh_magic.size() + 12, sizeof compressed);
    if (compressed != 0)
        return fail(ErrorKind::Refused, "virsh compressed it",
                    "set save_image_format = \"raw\" in /etc/libvirt/qemu.conf and save it again");
    return virsh_header_size + xml_size;
}

} // namespace

Result<QemuState> read_qemu_state(const ByteSource& source, Pages pages)
{
    const auto begin = find_stream(source);
    if (!begin)
        return std::unexpected(begin.error());
    if (ByteCursor(source, *begin).integer(4) != stream_magic)
        return fail(ErrorKind::Invalid, "it is no QEMU migration stream");
    auto description = find_description(source);
    if (!description)
        return std::unexpected(description.error());
    const uint64_t end = description->at;
    StateReader reader(source, *begin, std::move(description->layout), end, pages);
    auto state = reader.read();
    if (state)
        state->description_size = source.size() - end - description_head;
    return state;
}

} // namespace drover::qemu
