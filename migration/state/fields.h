// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/little_endian.h"
#include "monitor/json.h"
#include "util/result.h"

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

/// A part of the neutral machine state is a struct and a function describe(visitor, part) that
/// names its fields once, in their order. From that come its bytes, its JSON, and what tests make
/// up.
namespace drover::state {

/// What is told of a field: name and unit are shown to users; the source is where its meaning is
/// specified.
struct FieldNote {
    const char* name;
    const char* unit; ///< "" for a register's bits
    const char* source;
};

/// A part, to be read or to be filled.
template <class T, class Part>
concept PartOrConst = std::same_as<std::remove_const_t<T>, Part>;

namespace detail {
template <class T> struct IsArray : std::false_type {
};
template <class T, size_t N> struct IsArray<std::array<T, N>> : std::true_type {
};
/// As what a number travels.
template <class T> struct Bits : std::make_unsigned<T> {
};
template <> struct Bits<bool> {
    using type = uint8_t;
};
template <class T>
concept IsBytes = std::same_as<T, std::string> || std::same_as<T, std::vector<uint8_t>>;
template <class T> struct IsList : std::false_type {
};
template <class T> struct IsList<std::vector<T>> : std::true_type {
};
} // namespace detail

/// Integers little-endian, a truth as a byte, a list or a text behind its length in 32 bits: no
/// padding.
class Encoder {
public:
    /// Puts its bytes behind what is in `out`.
    explicit Encoder(std::vector<std::byte>& out) : out_(out) {}
    template <class T> void field(const FieldNote& /*note*/, const T& value) { put(value); }

private:
    template <class T> void put(const T& value)
    {
        if constexpr (std::integral<T>) {
            stream::append_le(out_, static_cast<typename detail::Bits<T>::type>(value));
        } else if constexpr (std::is_enum_v<T>) {
            put(static_cast<std::underlying_type_t<T>>(value));
        } else if constexpr (detail::IsArray<T>::value) {
            for (const auto& each : value)
                put(each);
        } else if constexpr (detail::IsBytes<T>) { // ROMs are in such ones
            put(static_cast<uint32_t>(value.size()));
            const auto bytes = std::as_bytes(std::span(value));
            out_.insert(out_.end(), bytes.begin(), bytes.end());
        } else if constexpr (detail::IsList<T>::value) {
            put(static_cast<uint32_t>(value.size()));
            for (const auto& each : value)
                put(each);
        } else {
            describe(*this, value);
        }
    }
    std::vector<std::byte>& out_;
};

/// Of bytes that nobody vouches for: once they are too short, or a list is too long, all else stays
/// as it was, and good() says so.
class Decoder {
public:
    explicit Decoder(std::span<const std::byte> bytes) : rest_(bytes) {}
    template <class T> void field(const FieldNote& /*note*/, T& value) { get(value); }
    [[nodiscard]] bool good() const { return good_; }
    [[nodiscard]] size_t left() const { return rest_.size(); } ///< bytes

private:
    static constexpr uint32_t longest_list = 4096;
    static constexpr uint32_t most_bytes = 64U << 20; ///< of a text, or of a device's own bytes

    template <class T> void get(T& value)
    {
        if constexpr (std::same_as<T, bool>) {
            uint8_t byte = 0;
            get(byte);
            good_ = good_ && byte <= 1;
            value = byte == 1;
        } else if constexpr (std::integral<T>) {
            using Bits = std::make_unsigned_t<T>;
            good_ = good_ && rest_.size() >= sizeof(T);
            if (!good_)
                return;
            value = static_cast<T>(stream::load_le<Bits>(rest_.data()));
            rest_ = rest_.subspan(sizeof(T));
        } else if constexpr (std::is_enum_v<T>) {
            std::underlying_type_t<T> number = 0;
            get(number);
            value = static_cast<T>(number);
            good_ = good_ && is_one_of(value);
        } else if constexpr (detail::IsArray<T>::value) {
            for (auto& each : value)
                get(each);
        } else if constexpr (detail::IsBytes<T>) {
            get_bytes(value);
        } else if constexpr (detail::IsList<T>::value) {
            get_list(value);
        } else {
            describe(*this, value);
        }
    }
    template <class T> void get_list(std::vector<T>& value)
    {
        uint32_t count = 0;
        get(count);
        // Plain numbers take as much memory as they take bytes here.
        good_ =
            good_ && (std::integral<T> ? count <= rest_.size() / sizeof(T) : count <= longest_list);
        value.clear();
        if (good_)
            value.reserve(count);
        for (uint32_t i = 0; good_ && i < count; ++i)
            get(value.emplace_back());
    }

    template <class T> void get_bytes(T& value)
    {
        uint32_t count = 0;
        get(count);
        good_ = good_ && count <= most_bytes && count <= rest_.size();
        if (!good_)
            return;
        const auto* begin = reinterpret_cast<const uint8_t*>(rest_.data());
        value.assign(begin, begin + count);
        rest_ = rest_.subspan(count);
    }

    std::span<const std::byte> rest_;
    bool good_ = true;
};

/// For people and programs: registers as hexadecimal texts (JSON's numbers end at 53 bits in many a
/// program), quantities as numbers with their unit in the name.
class JsonMaker {
public:
    template <class T> void field(const FieldNote& note, const T& value)
    {
        const std::string unit = note.unit;
        json_[unit.empty() ? note.name : std::string(note.name) + "-" + unit] =
            make(value, unit.empty());
    }
    [[nodiscard]] Json take() { return std::move(json_); }

private:
    template <class T> static Json make(const T& value, bool bits)
    {
        if constexpr (std::same_as<T, bool> || std::same_as<T, std::string>) {
            return value;
        } else if constexpr (detail::IsBytes<T>) {
            return hex(value);
        } else if constexpr (std::integral<T>) {
            return bits ? hex(static_cast<std::make_unsigned_t<T>>(value)) : Json(value);
        } else if constexpr (std::is_enum_v<T>) {
            return std::string(to_string(value));
        } else if constexpr (detail::IsArray<T>::value || detail::IsList<T>::value) {
            Json list = Json::array();
            for (const auto& each : value)
                list.push_back(make(each, bits));
            return list;
        } else {
            JsonMaker inner;
            describe(inner, value);
            return inner.take();
        }
    }
    static Json hex(uint64_t value);
    static Json hex(std::span<const uint8_t> bytes);

    Json json_ = Json::object();
};

template <class Part> [[nodiscard]] std::vector<std::byte> encode(const Part& part)
{
    std::vector<std::byte> out;
    Encoder encoder(out);
    describe(encoder, part);
    return out;
}

/// Fails if the bytes are not exactly one part.
template <class Part> [[nodiscard]] Result<Part> decode(std::span<const std::byte> bytes)
{
    Part part;
    Decoder decoder(bytes);
    describe(decoder, part);
    if (!decoder.good() || decoder.left() != 0)
        return fail(ErrorKind::Protocol, "a part of the machine's state has not its form");
    return part;
}

template <class Part> [[nodiscard]] Json part_to_json(const Part& part)
{
    JsonMaker maker;
    describe(maker, part);
    return maker.take();
}

} // namespace drover::state
