// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/byte_source.h"
#include "vmm/qemu/state/state_layout.h"

#include <memory>

namespace drover::qemu {

/// What QEMU's migration stream holds of a block of RAM.
struct SavedRam {
    std::string name;
    uint64_t size = 0; ///< bytes, of the block
    /// With x-ignore-shared, whose shared blocks have no page in the stream: where the block lies.
    uint64_t address = 0;
    uint64_t raw = 0;   ///< pages that were sent as they are, those sent again counted again
    uint64_t zero = 0;  ///< pages that were sent as one byte repeated
    uint64_t delta = 0; ///< pages that were sent as a difference (xbzrle)
    uint64_t bytes = 0; ///< that all of them take in the stream
    /// If they were asked for: of each page where it lies in the file, the last time that it was
    /// sent; 0: it holds zeroes.
    std::vector<uint64_t> places;
};

struct SavedSection {
    std::string name;
    uint64_t instance = 0;
    uint64_t version = 0;
    StateField state; ///< the whole of it; `members` are its fields
};

/// A QEMU migration stream that is in a file: what `migrate file:` and `virsh save` make.
/// Version 3, of QEMU 1.0 and later, with the description behind it (all machines but
/// Xen's leave it there). docs/devel/migration of QEMU, and the streams themselves, are the source.
struct QemuState {
    uint64_t at = 0;          ///< where in the file the stream begins
    uint64_t sections_at = 0; ///< where its first section begins, behind the configuration
    std::string machine;      ///< the type with its version, such as pc-i440fx-7.2; empty: not told
    std::vector<std::string> capabilities; ///< that were on, of those that the two sides compare
    [[nodiscard]] bool ignores_shared() const;
    uint64_t page_size = 0;
    std::vector<SavedRam> ram;
    std::vector<SavedSection> sections;
    uint64_t description_size = 0;             ///< bytes
    std::shared_ptr<const StateLayout> layout; ///< which holds the names of the sections' fields
};

/// Whether it is noted where each page lies: 8 bytes a page, and then a page that was sent as
/// something else than itself or zeroes is refused.
enum class Pages { Counted, Located };

/// Of a file that nobody vouches for. What comes of a source in memory refers to it. Errors are of
/// kind Protocol where the format is broken, and Refused for what is not read (compressed pages,
/// several channels), by name.
[[nodiscard]] Result<QemuState> read_qemu_state(const ByteSource& source,
                                                Pages pages = Pages::Counted);

/// What a field holds: a number, a truth, a list of them, or an object of its members; bytes
/// without a meaning that the stream tells are a text of hexadecimal digits.
[[nodiscard]] Result<Json> value_of(const StateField& field, const ByteSource& source);

/// All of it, as `drover inspect --json` prints it. `section`: only those of this name.
[[nodiscard]] Result<Json> to_json(const QemuState& state, const ByteSource& source,
                                   const std::string& section = {});

} // namespace drover::qemu
