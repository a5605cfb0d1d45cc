// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/state/model_sections.h"

#include "vmm/qemu/state/virtio_fields.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

namespace drover::xen {

namespace {

constexpr std::string_view model_magic = "QEVM";
constexpr uint32_t model_version = 3;
constexpr size_t model_header_size = 8;
constexpr uint32_t largest_version = 64;   ///< of a device's state: QEMU's are below 30
constexpr uint32_t largest_instance = 255; ///< QEMU's own are small numbers
constexpr uint32_t widest_gap = 16;        ///< of numbers that are not used, between two sections
constexpr size_t shortest_name = 2;
constexpr size_t most_model_sections = 4096;
constexpr size_t footer_size = 5;

struct ModelMark {
    enum : uint8_t { End = 0, Start = 1, Full = 4, Subsection = 5, Footer = 0x7e };
};

struct FixedSize {
    std::string_view name; ///< behind the last '/'
    uint32_t version;
    size_t size; ///< bytes, without subsections
};

/// With contents that a guest chooses: registers, FIFOs, buffers.
constexpr FixedSize fixed_sizes[] = {
    {"timer", 2, 24},  {"cpu_common", 1, 8}, {"apic", 3, 181},   {"fw_cfg", 2, 6},
    {"PCIHost", 1, 4}, {"PCIBUS", 1, 516},   {"I440FX", 3, 277}, {"dma", 1, 75},
    {"PIIX3", 3, 292}, {"ioapic", 3, 206},   {"hpet", 2, 151},   {"mc146818rtc", 3, 245},
    {"serial", 3, 11}, {"fdc", 2, 542},      {"ps2kbd", 3, 284}, {"ps2mouse", 2, 291},
    {"pckbd", 3, 4},   {"port92", 1, 1},     {"i2c_bus", 1, 1},  {"piix4_pm", 3, 360},
};

uint32_t big_endian(const std::byte* at)
{
    uint32_t value = 0;
    for (size_t i = 0; i < sizeof value; ++i)
        value = value << 8 | std::to_integer<uint32_t>(at[i]);
    return value;
}

struct ModelHeader {
    ModelSection section;
    size_t size = 0; ///< bytes, of the header
};

class ModelSplitter {
public:
    explicit ModelSplitter(std::span<const std::byte> bytes) : bytes_(bytes) {}

    Result<std::vector<ModelSection>> split()
    {
        if (bytes_.size() <= model_header_size ||
            std::memcmp(bytes_.data(), model_magic.data(), model_magic.size()) != 0 ||
            big_endian(bytes_.data() + model_magic.size()) != model_version)
            return fail(ErrorKind::Refused, "the device model's state is not one of QEMU's");
        if (bytes_.back() != std::byte{ModelMark::End})
            return fail(ErrorKind::Protocol, "the device model's state has no end");
        size_t at = model_header_size;
        while (at + 1 < bytes_.size()) {
            auto header = header_at(at);
            if (!header || sections_.size() >= most_model_sections)
                return fail(ErrorKind::Protocol,
                            "the device model's state has no section at byte " +
                                std::to_string(at));
            last_id_ = static_cast<int64_t>(header->section.id);
            const auto end = find_end(at + header->size, header->section);
            if (!end)
                return std::unexpected(end.error());
            const auto body = bytes_.subspan(at + header->size, *end - at - header->size);
            at = *end;
            header->section.bytes.assign(body.begin(), without_footer(body, header->section.id));
            sections_.push_back(std::move(header->section));
        }
        return std::move(sections_);
    }

private:
    /// One that may follow on the section before, by its number and its form.
    [[nodiscard]] std::optional<ModelHeader> header_at(size_t at) const
    {
        const size_t fixed = 1 + 4 + 1; // mark, number, length of the name
        if (at + fixed > bytes_.size() ||
            (bytes_[at] != std::byte{ModelMark::Full} && bytes_[at] != std::byte{ModelMark::Start}))
            return std::nullopt;
        ModelHeader header;
        header.section.id = big_endian(&bytes_[at + 1]);
        const auto length = std::to_integer<size_t>(bytes_[at + 5]);
        header.size = fixed + length + 8;
        if (length < shortest_name || header.size > bytes_.size() - at ||
            header.section.id <= last_id_ || header.section.id > last_id_ + widest_gap)
            return std::nullopt;
        const auto* name = reinterpret_cast<const char*>(&bytes_[at + fixed]);
        header.section.name.assign(name, length);
        header.section.instance = big_endian(&bytes_[at + fixed + length]);
        header.section.version = big_endian(&bytes_[at + fixed + length + 4]);
        const bool readable =
            std::ranges::all_of(header.section.name, [](char c) { return c >= ' ' && c <= '~'; });
        if (!readable || header.section.version > largest_version ||
            header.section.instance > largest_instance)
            return std::nullopt;
        return header;
    }

    [[nodiscard]] bool ends_at(size_t at) const
    {
        return at + 1 == bytes_.size() || header_at(at).has_value();
    }

    /// Of a section's contents that begin at `begin`.
    [[nodiscard]] Result<size_t> find_end(size_t begin, const ModelSection& section) const
    {
        if (const auto size =
                qemu::virtio_size(section.name, section.version, bytes_.subspan(begin));
            size && begin + *size < bytes_.size())
            return end_behind(begin + *size, section);
        size_t from = begin;
        const std::string_view name =
            std::string_view(section.name).substr(section.name.rfind('/') + 1);
        for (const FixedSize& fixed : fixed_sizes) {
            if (fixed.name != name || fixed.version != section.version)
                continue;
            from = begin + fixed.size;
            if (from >= bytes_.size())
                return fail(ErrorKind::Protocol, section.name + " is cut off");
            return end_behind(from, section);
        }
        return search_end(from, section);
    }

    /// Of a section of which all that has a known length ends at `from`.
    [[nodiscard]] Result<size_t> end_behind(size_t from, const ModelSection& section) const
    {
        if (ends_at(from) || ends_at(from + footer_size))
            return ends_at(from) ? from : from + footer_size;
        if (bytes_[from] != std::byte{ModelMark::Subsection})
            return fail(ErrorKind::Incompatible,
                        section.name + " of the device model has not its form in QEMU 7.2");
        return search_end(from, section);
    }

    [[nodiscard]] Result<size_t> search_end(size_t from, const ModelSection& section) const
    {
        size_t end = from;
        while (!ends_at(end))
            if (++end + 1 > bytes_.size())
                return fail(ErrorKind::Protocol, section.name + " has no end");
        if (const auto next = header_at(end))
            for (size_t at = end + next->size; at + 1 < bytes_.size(); ++at)
                if (const auto other = header_at(at);
                    other && other->section.id == next->section.id)
                    return fail(ErrorKind::Refused,
                                "where " + section.name + " of the device model ends is not clear");
        return end;
    }

    static std::span<const std::byte>::iterator without_footer(std::span<const std::byte> body,
                                                               uint32_t id)
    {
        const bool footer = body.size() >= footer_size &&
                            body[body.size() - footer_size] == std::byte{ModelMark::Footer} &&
                            big_endian(&body[body.size() - footer_size + 1]) == id;
        return footer ? body.end() - footer_size : body.end();
    }

    std::span<const std::byte> bytes_;
    int64_t last_id_ = -1;
    std::vector<ModelSection> sections_;
};

void append_big_endian(std::vector<std::byte>& out, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        out.push_back(static_cast<std::byte>(value >> shift));
}

void append_text(std::vector<std::byte>& out, std::string_view text)
{
    std::ranges::copy(std::as_bytes(std::span(text)), std::back_inserter(out));
}

} // namespace

Result<std::vector<ModelSection>> split_model(std::span<const std::byte> bytes)
{
    return ModelSplitter(bytes).split();
}

std::vector<std::byte> join_model(std::span<const ModelSection> sections)
{
    std::vector<std::byte> out;
    append_text(out, model_magic);
    append_big_endian(out, model_version);
    for (const ModelSection& section : sections) {
        out.push_back(std::byte{ModelMark::Full});
        append_big_endian(out, section.id);
        out.push_back(static_cast<std::byte>(section.name.size()));
        append_text(out, section.name);
        append_big_endian(out, section.instance);
        append_big_endian(out, section.version);
        out.insert(out.end(), section.bytes.begin(), section.bytes.end());
    }
    out.push_back(std::byte{ModelMark::End});
    return out;
}

} // namespace drover::xen
