// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cmath>
#include <cstdint>

namespace drover::balancer {

/// Random numbers that are the same on every machine, which those of <random>'s distributions are
/// not (splitmix64).
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next()
    {
        uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    /// 0 to 1, without 1.
    double part() { return static_cast<double>(next() >> 11) * 0x1p-53; }
    double between(double least, double most) { return least + (most - least) * part(); }
    size_t below(size_t count) { return next() % count; }
    bool chance(double probability) { return part() < probability; }
    /// Roughly normal, 0 and 1: four uniform numbers from one draw.
    double normal()
    {
        const uint64_t bits = next();
        const double sum = double(bits & 0xffff) + double(bits >> 16 & 0xffff) +
                           double(bits >> 32 & 0xffff) + double(bits >> 48);
        return (sum / 65535 - 2) * 1.7320508;
    }
    /// Heavy-tailed: at least `least`, at most `most`.
    double pareto(double least, double most, double shape = 1.5)
    {
        return std::fmin(most, least / std::pow(1 - part(), 1 / shape));
    }

private:
    uint64_t state_;
};

} // namespace drover::balancer
