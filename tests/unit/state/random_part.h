// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/state/fields.h"

#include <random>

namespace drover::testing {

/// A visitor that gives each field any legal value, the same ones for the same seed.
class Randomizer {
public:
    explicit Randomizer(uint64_t seed) : random_(seed) {}
    template <class T> void field(const state::FieldNote& /*note*/, T& value) { make(value); }

private:
    template <class T> void make(T& value)
    {
        if constexpr (std::same_as<T, bool>) {
            value = random_() % 2 == 1;
        } else if constexpr (std::integral<T>) {
            value = static_cast<T>(random_());
        } else if constexpr (std::is_enum_v<T>) {
            do
                value = static_cast<T>(random_() % 16);
            while (!is_one_of(value));
        } else if constexpr (state::detail::IsArray<T>::value) {
            for (auto& each : value)
                make(each);
        } else if constexpr (state::detail::IsBytes<T>) {
            value.resize(random_() % 40);
            for (auto& each : value)
                each = static_cast<char>('a' + random_() % 26);
        } else if constexpr (state::detail::IsList<T>::value) {
            value.resize(random_() % 8);
            for (auto& each : value)
                make(each);
        } else {
            describe(*this, value);
        }
    }
    std::mt19937_64 random_;
};

template <class Part> [[nodiscard]] Part random_part(uint64_t seed)
{
    Part part;
    Randomizer randomizer(seed);
    describe(randomizer, part);
    return part;
}

} // namespace drover::testing
