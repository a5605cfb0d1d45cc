// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>

namespace drover::qemu {

/// What stands before each part of the stream.
struct Mark {
    enum Value : uint8_t {
        End = 0x00,
        SectionStart = 0x01,
        SectionPart = 0x02,
        SectionEnd = 0x03,
        SectionFull = 0x04,
        Subsection = 0x05,
        Description = 0x06,
        Configuration = 0x07,
        Command = 0x08,
        Footer = 0x7e,
    };
};

/// In the bits of an address below the page's size.
struct PageFlag {
    enum : uint64_t {
        Zero = 0x02, ///< one byte follows, of which the page is full
        Blocks = 0x04,
        Raw = 0x08,
        PartEnd = 0x10,
        SameBlock = 0x20,
        Delta = 0x40,
        Hook = 0x80,
        Compressed = 0x100,
        ChannelFlush = 0x200,
    };
};

} // namespace drover::qemu
