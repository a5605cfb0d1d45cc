// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <optional>
#include <termios.h>

namespace drover::qemu {

/// The terminal on standard input as it was before QEMU, which puts it into raw mode, and may be
/// killed without undoing it.
class SavedTerminal {
public:
    SavedTerminal();

    /// Once QEMU was killed. Does nothing where the terminal is no longer that of our process
    /// group: a shell has it then, which sees to it itself, and may be reading in a mode of its
    /// own.
    void restore() const;

private:
    std::optional<termios> saved_;
};

} // namespace drover::qemu
