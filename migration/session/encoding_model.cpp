// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/encoding_model.h"

#include <algorithm>
#include <utility>

namespace drover {

namespace {

/// Of a new measurement; the rest is what was known before.
constexpr double link_weight = 0.25;
/// Over so many frames (64 MiB and more): a link that seems fast for a moment may be one of which
/// the buffers ran empty while others had the processor.
constexpr double long_weight = 1.0 / 128;
constexpr double codec_weight = 0.2;
constexpr double whole_weight = 0.2;
constexpr double forgetting = 0.02;
/// A busy host makes compressing slower, and that counts; but not each time that others had the
/// processor for a while: of a short trial that would be hundreds of times as much as it took.
constexpr double most_contention = 3;
/// A frame that waits for much longer than those before it met a hiccup, of the host's or the
/// link's. Its wait counts only as so many times what is known.
constexpr double most_rise = 8;
/// A stretch of the socket's buffer is no link: nothing longer than this is taken for free.
constexpr double least_link = 1e-11; // s/byte

/// Before anything was measured: what compressing costs, in seconds a byte (500 and 250 MB/s).
constexpr double usual_lz4 = 2e-9;
constexpr double usual_zstd = 4e-9;
/// The peer must decompress, and on a host whose processors are all busy that, too, makes a link
/// look slow: so compressing counts for more than it takes here.
constexpr double both_ends = 2.5;
/// To be worth it, it must save a twelfth of the time: figures are figures of the past.
constexpr double worthwhile = 0.92;
/// A trial that costs less than this part of the link's time need not be saved.
constexpr double cheap_trial = 0.02;
/// Frames of deltas fill no buffers: that they do not wait is no sign of a fast link.
constexpr uint64_t whole_frame = 192U << 10;
/// Of a smaller frame, the wait is the system call's own time.
constexpr uint64_t telling_frame = 32U << 10;
/// Compressing may begin with so much processor time, whatever the bound.
constexpr double cpu_start_s = 0.02;

/// zstd's level rises while compressing costs less than this part of the link's time for what comes
/// of it, and falls where it costs more than that one.
constexpr double idle_part = 0.15;
constexpr double busy_part = 0.5;
constexpr double next_level_cost = 1.4;

/// Hashing a page takes 0.3 µs, and the first time 0.8: little of the link's time then.
constexpr double slow_page_s = 14e-6;
constexpr double model_page = 4096; // bytes
/// So much of each channel goes into the buffers on the way before the link shows itself.
constexpr uint64_t unknown_bytes = 24U << 20;

double mix(double known, double seen, double weight)
{
    return known + weight * (seen - known);
}

} // namespace

EncodingModel::EncodingModel(const EncodingBounds& bounds, size_t channels)
    : bounds_(bounds),
      cpu_share_(bounds.cpu / static_cast<double>(channels)), codecs_{{{usual_lz4}, {usual_zstd}}}
{
}

const EncodingModel::Codec& EncodingModel::codec(Encoding encoding) const
{
    return codecs_[encoding == Encoding::Lz4 ? 0 : 1];
}

void EncodingModel::wrote(uint64_t bytes, double link_s, double limit_s)
{
    bytes_ += bytes;
    // Who is not used any more is not measured any more: what it took then says ever less.
    codecs_[0].s_per_byte = mix(codecs_[0].s_per_byte, usual_lz4, forgetting);
    codecs_[1].s_per_byte = mix(codecs_[1].s_per_byte, usual_zstd, forgetting);
    if (bytes < telling_frame)
        return;
    double seen = std::max(link_s / static_cast<double>(bytes), least_link);
    if (link_ > 0)
        seen = std::min(seen, most_rise * link_);
    link_ = link_ > 0 ? mix(link_, seen, link_weight) : seen;
    if (unlimited_) // what the limit was, it will be again
        return;
    limit_ = mix(limit_, limit_s / static_cast<double>(bytes), link_weight);
    const double both = (link_s + limit_s) / static_cast<double>(bytes);
    if (bytes >= whole_frame || both > long_link_)
        long_link_ = mix(long_link_, both, long_weight);
}

void EncodingModel::packed(Encoding encoding, uint64_t from, uint64_t to, double cpu_s,
                           double elapsed_s)
{
    Codec& used = codecs_[encoding == Encoding::Lz4 ? 0 : 1];
    const double took_s = std::min(elapsed_s, most_contention * cpu_s);
    const double seen = took_s / static_cast<double>(std::max<uint64_t>(from, 1));
    used.s_per_byte = used.measured ? mix(used.s_per_byte, seen, codec_weight) : seen;
    used.measured = true;
    cpu_spent_ += cpu_s;
    if (encoding == Encoding::Zstd && to < from)
        adapt_level(to, both_ends * took_s);
}

void EncodingModel::adapt_level(uint64_t to, double cost_s)
{
    const double link_s = static_cast<double>(to) * link_s_per_byte();
    double& cost = codecs_[1].s_per_byte;
    if (cost_s < idle_part * link_s && level_ < bounds_.most_zstd_level) {
        ++level_;
        cost *= next_level_cost;
    } else if (cost_s > busy_part * link_s && level_ > 1) {
        --level_;
        cost /= next_level_cost;
    }
}

bool EncodingModel::may_gain(Encoding encoding, double now_s) const
{
    if (!bounds_.allowed.has(encoding))
        return false;
    if (bounds_.cpu > 0 && cpu_spent_ > cpu_start_s + cpu_share_ * now_s)
        return false;
    return both_ends * codec(encoding).s_per_byte < worthwhile * link_s_per_byte();
}

bool EncodingModel::trial_is_cheap(double part) const
{
    return part * codecs_[1].s_per_byte < cheap_trial * link_s_per_byte();
}

EncodingModel::Encoding EncodingModel::choose(double lz4_part, double zstd_part) const
{
    double least = worthwhile * link_s_per_byte();
    Encoding best = Encoding::Raw;
    for (const auto& [encoding, part] :
         {std::pair(Encoding::Lz4, lz4_part), std::pair(Encoding::Zstd, zstd_part)}) {
        const double cost = both_ends * codec(encoding).s_per_byte + part * link_s_per_byte();
        if (part < 1 && cost < least) {
            least = cost;
            best = encoding;
        }
    }
    return best;
}

bool EncodingModel::keeps_versions(bool kept) const
{
    if (!bounds_.allowed.has(Encoding::Delta))
        return false;
    const double now_s = link_s_per_byte() * model_page;
    if (kept) // what is let go is lost
        return bytes_ < unknown_bytes || std::max(now_s, long_link_ * model_page) > slow_page_s / 2;
    return bytes_ < unknown_bytes || now_s > slow_page_s;
}

void EncodingModel::sent_whole(uint64_t from, uint64_t to)
{
    const double part = static_cast<double>(to) / static_cast<double>(std::max<uint64_t>(from, 1));
    whole_part_ = mix(whole_part_, part, whole_weight);
}

} // namespace drover
