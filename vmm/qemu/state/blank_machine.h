// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace drover::qemu {

/// How to start a QEMU whose machine's form is to be learnt.
struct BlankStart {
    std::vector<std::string> command; ///< program first
    /// Files of guest RAM, in the order of their placeholders (ram_placeholder) in the command; if
    /// there are any, shared RAM stays out of what is saved.
    std::vector<UniqueFd> ram;
};

/// Starts a QEMU with this command line, stopped before its guest's first instruction, and has it
/// save itself: its stream, which describes itself, tells how the machine that is to take a guest
/// has its devices' fields. Its disks are opened as ever, so that no other may have them at that
/// time. Destroying this ends it. Loop thread only.
class BlankMachine {
public:
    /// The file, which has no name, or why there is none. Not called from the constructor; may
    /// destroy the BlankMachine.
    using Done = std::function<void(Result<UniqueFd>)>;

    BlankMachine(BlankStart start, Done done);
    ~BlankMachine();
    BlankMachine(const BlankMachine&) = delete;
    BlankMachine& operator=(const BlankMachine&) = delete;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

/// The same, and waits for it: runs the default main context until then, 30 s at most.
[[nodiscard]] Result<UniqueFd> save_blank_machine(std::vector<std::string> command);

} // namespace drover::qemu
