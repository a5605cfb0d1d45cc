// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace drover::xen {

/// A pipe in the place of the file from which xl has a new domain's device model read its state.
/// The model then starts, and waits, before there is such a state. Its names are removed at the
/// end, at the latest.
class StatePipe {
public:
    /// Before xl starts the device model of this domain.
    [[nodiscard]] static Result<std::unique_ptr<StatePipe>> make(uint32_t domain);
    ~StatePipe();
    StatePipe(const StatePipe&) = delete;
    StatePipe& operator=(const StatePipe&) = delete;

    /// The device model has it open: its end breaks the pipe from now on.
    void has_reader();
    /// Blocks. The device model sees the end behind it.
    [[nodiscard]] Status write(std::span<const std::byte> state);

private:
    StatePipe(std::string file, std::string link) : file_(std::move(file)), link_(std::move(link))
    {
    }
    void remove_names();

    std::string file_; ///< as xl calls it; leads to link_
    std::string link_; ///< leads to the pipe
    UniqueFd reader_;  ///< until somebody else has that end
    UniqueFd writer_;
};

} // namespace drover::xen
