// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"

#include <algorithm>
#include <bit>

namespace drover::state {

namespace {

constexpr uint32_t largest_divisor = 128;
/// What kernels set; with a smaller one on the way out, it is what comes back.
constexpr uint32_t usual_divisor = 16;

/// The timer's ticks with a divisor, as a fraction of a second.
struct Tick {
    uint64_t divisor = 1;
    uint64_t hz = 1;
};

/// `count` ticks of one length as ticks of another, to the nearest, in the register's bounds. A
/// timer that runs does not become one that is off.
uint32_t recount(uint32_t count, Tick from, Tick to)
{
    if (count == 0 || from.hz == 0 || to.divisor == 0)
        return count;
    __extension__ using Wide = unsigned __int128;
    const Wide above = Wide{count} * from.divisor * to.hz;
    const Wide below = Wide{from.hz} * to.divisor;
    return static_cast<uint32_t>(std::clamp<Wide>((above + below / 2) / below, 1, UINT32_MAX));
}

uint32_t divide_configuration_of(uint32_t divisor)
{
    // 1 has the code after 128's.
    const auto power = static_cast<uint32_t>(std::countr_zero(divisor));
    const uint32_t code = (power + 7) % 8;
    return (code & 3) | (code & 4) << 1;
}

/// The guest's divisor in units of this timer, rounded down; 0: its ticks are shorter.
uint64_t wanted_divisor(const Lapic& lapic, uint64_t bus_hz)
{
    const uint64_t divisor = divisor_of(lapic.divide_configuration);
    return lapic.timer_hz == 0 ? divisor : divisor * bus_hz / lapic.timer_hz;
}

} // namespace

uint32_t divisor_of(uint32_t divide_configuration)
{
    const uint32_t code = (divide_configuration & 3) | (divide_configuration & 8) >> 1;
    return 1U << ((code + 1) & 7);
}

bool ticks_late(const Lapic& lapic, uint64_t bus_hz)
{
    return wanted_divisor(lapic, bus_hz) == 0;
}

LapicTimer timer_for(const Lapic& lapic, uint64_t bus_hz)
{
    if (lapic.timer_hz == bus_hz || lapic.timer_hz == 0)
        return {lapic.divide_configuration, lapic.initial_count};
    const uint64_t wanted = std::clamp<uint64_t>(wanted_divisor(lapic, bus_hz), 1, largest_divisor);
    const auto divisor = static_cast<uint32_t>(std::bit_floor(wanted));
    return {divide_configuration_of(divisor),
            recount(lapic.initial_count, {divisor_of(lapic.divide_configuration), lapic.timer_hz},
                    {divisor, bus_hz})};
}

void set_timer(Lapic& lapic, LapicTimer programmed, uint64_t bus_hz, uint64_t born_hz)
{
    lapic.timer_hz = born_hz;
    lapic.divide_configuration = programmed.divide_configuration;
    lapic.initial_count = programmed.initial_count;
    if (bus_hz == born_hz)
        return;
    const uint32_t divisor = divisor_of(programmed.divide_configuration);
    // Of the guest's divisors that are programmed as this one, the one that kernels use, or else
    // the nearest to it.
    uint32_t best = 0;
    for (uint32_t own = 1; own <= largest_divisor; own *= 2) {
        Lapic candidate = lapic;
        candidate.divide_configuration = divide_configuration_of(own);
        if (divisor_of(timer_for(candidate, bus_hz).divide_configuration) == divisor &&
            (best == 0 || own <= usual_divisor))
            best = own;
    }
    // Programmed by the guest itself, since it came: it believes what it wrote.
    if (best == 0)
        best = divisor;
    lapic.divide_configuration = divide_configuration_of(best);
    lapic.initial_count = recount(programmed.initial_count, {divisor, bus_hz}, {best, born_hz});
}

FreeLapicTimer free_timer_for(const Lapic& lapic, uint64_t bus_hz)
{
    const uint64_t divisor = std::max<uint64_t>(wanted_divisor(lapic, bus_hz), 1);
    if (lapic.timer_hz == 0)
        return {static_cast<uint32_t>(divisor), lapic.initial_count};
    return {static_cast<uint32_t>(divisor),
            recount(lapic.initial_count, {divisor_of(lapic.divide_configuration), lapic.timer_hz},
                    {divisor, bus_hz})};
}

void set_free_timer(Lapic& lapic, FreeLapicTimer programmed, uint64_t bus_hz, uint64_t born_hz)
{
    lapic.timer_hz = born_hz;
    lapic.initial_count = recount(programmed.initial_count, {programmed.divisor, bus_hz},
                                  {divisor_of(lapic.divide_configuration), born_hz});
}

} // namespace drover::state
