// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/ram_block.h"
#include "vmm/qemu/tracker/placement.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace drover::testing {

struct VictimOptions {
    bool hugetlb = false; ///< its memory is in huge pages of 2 MiB
    bool wrapped = false; ///< started by a shell, which runs another program first
};

/// A child process with memory that it writes when told, under the preloaded tracker library.
class Victim {
public:
    explicit Victim(uint64_t pages, VictimOptions options = {});
    ~Victim();
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;

    /// Sends a command; does not wait.
    void tell(const std::string& command);
    /// Whether its answer has come.
    [[nodiscard]] bool has_answered() const;
    /// Waits for the answer: whether it could do it.
    [[nodiscard]] bool answer();
    /// What it answered besides, as numbers.
    [[nodiscard]] const std::vector<long>& numbers() const { return numbers_; }
    bool do_it(const std::string& command)
    {
        tell(command);
        return answer();
    }

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] std::span<const RamBlock> blocks() const { return {&block_, 1}; }
    [[nodiscard]] const RamBlock& block() const { return block_; }
    /// As the library announced them; they live as long as the victim.
    [[nodiscard]] std::span<const BlockMapping> mappings();

private:
    RamBlock block_;
    pid_t pid_ = -1;
    std::vector<long> numbers_;
    UniqueFd to_, from_, announcements_;
    std::vector<BlockMapping> mappings_;
};

} // namespace drover::testing
