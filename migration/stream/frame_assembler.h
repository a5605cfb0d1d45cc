// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame_io.h"

namespace drover::stream {

/// Puts frames together from bytes as they come, all checks included; knows no socket. After an
/// error it is of no more use.
class FrameAssembler {
public:
    /// What comes before the first frame. Optional: an opener hears a preamble only from a peer
    /// that cannot take its own.
    enum class Greeting { None, Optional, Required };

    FrameAssembler(ConnectionRole role, Greeting greeting);

    /// From the next header on, only these types (bit n: type n) are taken: others end the
    /// connection before their payload is allocated.
    void expect_only(uint64_t types) { types_ = types; }

    /// Where the next bytes go; never empty.
    [[nodiscard]] std::span<std::byte> target() const { return target_; }

    /// So many bytes have been put there. A frame if one is complete (valid until the next call),
    /// else null.
    [[nodiscard]] Result<const Frame*> filled(size_t count);

    [[nodiscard]] bool is_amid_frame() const;

    /// `why` the bytes ended here; says what the peer looks like if it has not even greeted.
    [[nodiscard]] Error ended(Error why) const;

private:
    enum class Expecting { Preamble, PreambleOrHeader, Header, Payload };

    void expect(Expecting what, std::span<std::byte> target);
    [[nodiscard]] Status take_preamble();
    void take_first_bytes();
    [[nodiscard]] Status take_header();
    [[nodiscard]] Result<const Frame*> take_payload();

    const ConnectionRole role_;
    Expecting expecting_ = Expecting::Header;
    bool may_be_stranger_ = false; ///< nothing has come yet that only a Drover sends
    std::span<std::byte> target_;
    PreambleBytes preamble_{};
    HeaderBytes header_{};
    PayloadBuffer buffer_;
    uint64_t sequence_ = 0;
    uint64_t types_ = UINT64_MAX;
    Frame frame_;
};

} // namespace drover::stream
