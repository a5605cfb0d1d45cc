// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/state/stream_marks.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// A section of QEMU's stream of which no description tells the form. The function that knows it is
/// written once, for either direction: with a SectionReader it fills the part, with a SectionWriter
/// it makes the bytes.
namespace drover::qemu {

/// Big-endian, as QEMU's streams are, but for what is a copy of memory of the guest's or QEMU's.
enum class ByteOrder { Big, Little };

constexpr uint32_t subsection_version = 1;

/// Of bytes that nobody vouches for: once they have not the form, all that is read is zero, and
/// good() says so.
class SectionReader {
public:
    static constexpr bool writes = false;

    explicit SectionReader(std::span<const std::byte> bytes) : rest_(bytes) {}

    [[nodiscard]] bool good() const { return good_; }
    [[nodiscard]] size_t left() const { return rest_.size(); } ///< bytes
    void fail() { good_ = false; }

    template <class T> void number(T& value, ByteOrder order = ByteOrder::Big)
    {
        if constexpr (std::same_as<T, bool>) {
            uint8_t byte = 0;
            number(byte);
            good_ = good_ && byte <= 1;
            value = byte == 1;
        } else {
            uint64_t read = 0;
            const auto bytes = take(sizeof(T));
            for (size_t i = 0; i < bytes.size(); ++i) {
                const auto byte = std::to_integer<uint64_t>(bytes[i]);
                read = order == ByteOrder::Big ? read << 8 | byte : read | byte << (8 * i);
            }
            value = static_cast<T>(read);
        }
    }
    /// Fails on any other value.
    template <class T> void constant(T value, ByteOrder order = ByteOrder::Big)
    {
        T read = {};
        number(read, order);
        good_ = good_ && read == value;
    }
    void zeros(size_t count)
    {
        for (const std::byte byte : take(count))
            good_ = good_ && byte == std::byte{0};
    }
    void bytes(std::vector<uint8_t>& value, size_t count)
    {
        const auto taken = take(count);
        const auto* begin = reinterpret_cast<const uint8_t*>(taken.data());
        value.assign(begin, begin + taken.size());
    }
    /// How many elements follow; at most `most`.
    template <class Count, class T> void resize(std::vector<T>& list, size_t most)
    {
        Count count = 0;
        number(count);
        good_ = good_ && count <= most;
        list.resize(good_ ? count : 0);
    }
    /// Whether a subsection of this name begins here; then it is entered.
    bool subsection(std::string_view name, bool /*is_there*/)
    {
        const size_t size = 2 + name.size() + sizeof(uint32_t);
        if (!good_ || rest_.size() < size || rest_[0] != std::byte{Mark::Subsection} ||
            std::to_integer<size_t>(rest_[1]) != name.size() ||
            std::string_view(reinterpret_cast<const char*>(&rest_[2]), name.size()) != name)
            return false;
        take(2 + name.size());
        constant(subsection_version);
        return good_;
    }

private:
    std::span<const std::byte> take(size_t size)
    {
        good_ = good_ && size <= rest_.size();
        if (!good_)
            return {};
        const auto taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }

    std::span<const std::byte> rest_;
    bool good_ = true;
};

class SectionWriter {
public:
    static constexpr bool writes = true;

    [[nodiscard]] static bool good() { return true; }
    static void fail() {}
    [[nodiscard]] std::vector<std::byte> take() { return std::move(out_); }

    template <class T> void number(const T& value, ByteOrder order = ByteOrder::Big)
    {
        const auto bits = static_cast<uint64_t>(value);
        for (size_t i = 0; i < sizeof(T); ++i) {
            const size_t shift = 8 * (order == ByteOrder::Big ? sizeof(T) - 1 - i : i);
            out_.push_back(static_cast<std::byte>(bits >> shift));
        }
    }
    template <class T> void constant(T value, ByteOrder order = ByteOrder::Big)
    {
        number(value, order);
    }
    void zeros(size_t count) { out_.resize(out_.size() + count); }
    void bytes(const std::vector<uint8_t>& value, size_t count)
    {
        for (size_t i = 0; i < count; ++i)
            out_.push_back(static_cast<std::byte>(i < value.size() ? value[i] : 0));
    }
    template <class Count, class T> void resize(const std::vector<T>& list, size_t /*most*/)
    {
        number(static_cast<Count>(list.size()));
    }
    bool subsection(std::string_view name, bool is_there)
    {
        if (!is_there)
            return false;
        number(static_cast<uint8_t>(Mark::Subsection));
        number(static_cast<uint8_t>(name.size()));
        for (const char letter : name)
            out_.push_back(static_cast<std::byte>(letter));
        number(subsection_version);
        return true;
    }

private:
    std::vector<std::byte> out_;
};

} // namespace drover::qemu
