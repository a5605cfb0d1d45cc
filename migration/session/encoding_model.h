// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/page_encoding.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace drover {

/// What a migration may use to send fewer bytes; what it does use is decided by what it measures.
struct EncodingBounds {
    stream::EncodingSet allowed = stream::plain_encodings; ///< by the peer and the user
    int most_zstd_level = 6;                               ///< 1 … 20
    /// Cores that all channels together may use to compress; 0: no bound.
    double cpu = 0;
    /// Memory for what was sent last (ram/sent_lines.h), of all channels together.
    uint64_t delta_bytes = 64U << 20;
};

/// When does compressing gain? Where its processor time is less than the link's time for the bytes
/// that it saves. Both are measured, by one channel for itself. Pure arithmetic: times are passed
/// in, in seconds. One thread.
///
/// Raw is what it begins with and comes back to: on a fast link nothing is ever tried.
class EncodingModel {
public:
    using Encoding = stream::PageEncoding;

    /// `channels` share the bound on processor time.
    EncodingModel(const EncodingBounds& bounds, size_t channels);

    /// A frame of so many bytes left; the channel waited so long for the link, and before that for
    /// the rate limit.
    void wrote(uint64_t bytes, double link_s, double limit_s = 0);

    /// Whether the rate limit does not hold now.
    void set_unlimited(bool unlimited) { unlimited_ = unlimited; }

    /// So many bytes of pages became so many (or as many, if it did not pay). `cpu_s`: processor
    /// time; `elapsed_s`: how long it took, which is more on a busy host.
    void packed(Encoding codec, uint64_t from, uint64_t to, double cpu_s, double elapsed_s);

    /// Whether a codec (Lz4, Zstd) would gain if it made nothing of the pages: only then is it
    /// worth a try on a sample. `now_s`: since the migration's start.
    [[nodiscard]] bool may_gain(Encoding codec, double now_s) const;

    /// Whether it costs next to nothing to compress this part of the pages on trial.
    [[nodiscard]] bool trial_is_cheap(double part) const;

    /// The cheapest of Raw, Lz4 and Zstd for pages of which samples became these parts; a part of 1
    /// where none was taken.
    [[nodiscard]] Encoding choose(double lz4_part, double zstd_part) const;

    /// The level for zstd: it rises while the link leaves the processor time for more.
    [[nodiscard]] int zstd_level() const { return level_; }

    /// Whether to keep what later rounds need for deltas, as it was `kept` until now: not on a link
    /// that takes a page in little more time than that. Before much was sent nothing is known of
    /// the link: then too.
    [[nodiscard]] bool keeps_versions(bool kept) const;

    /// What a page that is sent whole takes on the wire, as of late: a part of its size.
    [[nodiscard]] double whole_part() const { return whole_part_; }
    void sent_whole(uint64_t from, uint64_t to);

    /// What a byte takes.
    [[nodiscard]] double link_s_per_byte() const { return link_ + (unlimited_ ? 0 : limit_); }

private:
    struct Codec {
        double s_per_byte = 0; ///< of pages
        bool measured = false;
    };
    [[nodiscard]] const Codec& codec(Encoding encoding) const;
    void adapt_level(uint64_t to, double cost_s);

    EncodingBounds bounds_;
    double cpu_share_;
    double link_ = 0;  ///< seconds a byte
    double limit_ = 0; ///< likewise
    bool unlimited_ = false;
    double long_link_ = 0; ///< both together, over many frames; seconds a byte
    uint64_t bytes_ = 0;
    double cpu_spent_ = 0;
    double whole_part_ = 1;
    int level_ = 1;
    std::array<Codec, 2> codecs_; ///< Lz4, Zstd
};

} // namespace drover
