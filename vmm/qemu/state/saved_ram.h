// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/qemu/state/qemu_state.h"

#include <string>

namespace drover::qemu {

/// Reads the RAM of QEMU's stream for what there is of it, without its contents.
class SavedRamReader {
public:
    explicit SavedRamReader(Pages pages) : pages_(pages) {}

    /// One part, to its end mark. The first one tells the blocks.
    [[nodiscard]] Status read_part(ByteCursor& cursor, QemuState& state);

private:
    [[nodiscard]] Status read_blocks(ByteCursor& cursor, QemuState& state, uint64_t total);
    [[nodiscard]] Status read_page(ByteCursor& cursor, QemuState& state, uint64_t head);

    [[nodiscard]] Status note_page(const ByteCursor& cursor, const QemuState& state,
                                   uint64_t offset, uint64_t kind, SavedRam& ram) const;

    Pages pages_;
    std::string block_; ///< of the page before
};

} // namespace drover::qemu
