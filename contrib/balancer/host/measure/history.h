// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/moment.h"
#include "contrib/balancer/load/load.h"

#include <deque>
#include <memory>
#include <vector>

namespace drover::balancer {

/// The last hour of a host's or a VM's samples. Names and the like, which hardly ever change, are
/// kept once; numbers as floats: some hundred bytes a sample.
template <typename Load> class History {
public:
    static constexpr size_t capacity = 3600;

    void add(TimePoint at, const Load& load);

    /// Those of the last `seconds`, oldest first; the latest one always.
    [[nodiscard]] std::vector<Load> last(double seconds) const;

    [[nodiscard]] size_t size() const { return samples_.size(); }

private:
    struct Sample {
        TimePoint at;
        double utc;
        std::shared_ptr<const Load> shape; // all but the numbers
        std::unique_ptr<float[]> numbers;
    };
    std::deque<Sample> samples_;
};

extern template class History<HostLoad>;
extern template class History<VmLoad>;

} // namespace drover::balancer
