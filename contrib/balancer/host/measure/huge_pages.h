// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/proc_file.h"

#include <string>
#include <vector>

namespace drover::balancer::measure {

/// The machine's pools of huge pages, of all sizes: memory that was set apart, and that nobody gets
/// who does not ask for such pages. One thread at a time.
class HugePages {
public:
    /// `root` is "/" but for tests.
    explicit HugePages(const std::string& root);

    struct Bytes {
        double total = 0;
        double free = 0; ///< without what was promised to those who have not touched it yet
    };
    [[nodiscard]] Bytes read(ReadBuffer& buffer);

private:
    struct Pool {
        double page = 0; ///< bytes
        ProcFile total;
        ProcFile free;
        ProcFile reserved;
    };
    std::vector<Pool> pools_;
};

} // namespace drover::balancer::measure
