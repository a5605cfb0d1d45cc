// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/ram_receiver.h"

#include "migration/session/missing_pages.h"
#include "migration/session/ram_stripe.h"
#include "migration/stream/page_delta.h"
#include "util/defect.h"
#include "util/log.h"
#include "util/loop.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace drover {

using stream::FrameType;
using stream::PageEncoding;

namespace {
/// Connections besides the source's own, each of which holds a thread.
constexpr size_t max_strangers = 64;
} // namespace

bool can_take_deltas(std::span<const RamBlock> ram)
{
    return std::ranges::all_of(ram, [](const RamBlock& block) { return bool(block.file); });
}

/// A data connection and the thread that reads it; its end ends both. Made and destroyed on the
/// loop thread.
struct RamReceiver::Connection {
    std::unique_ptr<Channel> channel;
    std::thread thread;
    loop::Source join_timer;
    std::atomic<bool> joined{false}; ///< it has named the session
    std::atomic<bool> left{false};   ///< its thread ends, and nobody misses it

    ~Connection()
    {
        channel->abort();
        if (thread.joinable()) // not where the system had no more threads
            thread.join();
    }
};

RamReceiver::RamReceiver(std::span<const RamBlock> ram, std::unique_ptr<RamMapping> mapping,
                         size_t channels, stream::EncodingSet allowed, bool verify,
                         Callbacks callbacks, std::chrono::milliseconds join_limit)
    : ram_(ram), channels_(channels), allowed_(allowed), callbacks_(std::move(callbacks)),
      join_limit_(join_limit), writer_(ram, std::move(mapping)), rounds_(channels),
      joined_(std::make_unique<std::atomic<bool>[]>(channels)), frames_(channels),
      emptied_(channels), sums_(channels), compared_(channels)
{
    if (verify)
        keep_digests();
    for (const RamBlock& block : ram_) {
        present_.emplace_back(block.pages());
        missing_.emplace_back(block.pages());
    }
}

RamReceiver::~RamReceiver()
{
    end();
}

void RamReceiver::end()
{
    *alive_ = false;
    ending_ = true;
    for (const auto& connection : connections_)
        connection->channel->abort();
    connections_.clear();
}

void RamReceiver::leave_channels()
{
    end();
    ending_ = false;
    alive_ = std::make_shared<bool>(true); // what the old channels have posted is void
    for (size_t i = 0; i < channels_; ++i)
        joined_[i] = false;
}

std::vector<uint64_t> RamReceiver::go_on_after(uint32_t round)
{
    std::ranges::fill(rounds_, round);
    acknowledged_ = round;
    return frames_;
}

std::vector<PageBitmap> RamReceiver::take_missing()
{
    end();
    return std::move(missing_);
}

/// The source names the session at once: who has said nothing for longest is no source.
void RamReceiver::make_room()
{
    std::erase_if(connections_, [](const auto& each) { return each->left.load(); });
    if (connections_.size() < channels_ + max_strangers)
        return;
    const auto idle =
        std::ranges::find_if(connections_, [](const auto& each) { return !each->joined; });
    if (idle != connections_.end())
        connections_.erase(idle);
}

void RamReceiver::add_channel(Socket socket, const stream::SessionToken& token)
{
    make_room();
    Connection& connection = *connections_.emplace_back(std::make_unique<Connection>());
    connection.channel = make_socket_channel(std::move(socket));
    connection.join_timer = loop::after(join_limit_, [&connection] {
        if (!connection.joined)
            connection.channel->abort();
    });
    connection.thread = std::thread([this, &connection, token] { run(connection, token); });
}

void RamReceiver::run(Connection& connection, const stream::SessionToken& token)
{
    stream::FrameReader reader(*connection.channel);
    const auto index = read_join(reader, token);
    if (!index) {
        // Who cannot name the session is a stranger and must not end it. If it was the source after
        // all, it learns by the closed connection.
        if (index.error().kind == ErrorKind::Protocol)
            log::warning("a data connection was turned away: " + index.error().text());
        connection.channel->abort();
        connection.left = true;
        return;
    }
    connection.joined = true;
    Status status = defects::guarded([&] { return receive(*index, reader); });
    if (status)
        return;
    loop::post([this, alive = alive_, error = std::move(status.error())]() mutable {
        if (std::exchange(*alive, false)) // the first one tells
            callbacks_.failed(std::move(error));
    });
}

Status RamReceiver::receive(size_t index, stream::FrameReader& reader)
{
    if (index >= channels_ || joined_[index].exchange(true))
        return fail(ErrorKind::Protocol,
                    "data channel " + std::to_string(index) + " came twice, or is too many");
    if (Status empty = emptied_[index] != 0 ? Status() : empty_stripes(index); !empty)
        return empty;
    emptied_[index] = 1;
    stream::PageUnpacker unpacker;
    for (;;) {
        auto frame = reader.read();
        if (!frame)
            return pass(frame);
        bytes_ += stream::header_size + (*frame)->payload.size();
        if (Status status = handle(index, **frame, unpacker); !status)
            return status;
        ++frames_[index];
    }
}

/// Here, and not on the loop thread before: of preallocated RAM every byte is looked at. The source
/// sends meanwhile what the connection's buffers hold.
Status RamReceiver::empty_stripes(size_t channel)
{
    for (const Stripe& stripe : stripes_of(ram_, channel, channels_)) {
        if (ending_)
            return fail(ErrorKind::Cancelled, "the migration was given up");
        Status empty = writer_.empty(stripe.block, stripe.first * ram_page_size,
                                     (stripe.end - stripe.first) * ram_page_size);
        if (!empty)
            return empty;
    }
    return {};
}

Result<size_t> RamReceiver::read_join(stream::FrameReader& reader,
                                      const stream::SessionToken& token)
{
    auto frame = reader.read(FrameType::Join);
    if (!frame)
        return pass(frame);
    auto join = stream::decode_join((*frame)->payload);
    if (!join)
        return pass(join);
    if (join->token != token)
        return fail(ErrorKind::Protocol, "a data channel of another session came");
    return join->index;
}

Status RamReceiver::handle(size_t channel, const stream::Frame& frame,
                           stream::PageUnpacker& unpacker)
{
    if (frame.header.type == FrameType::Pages) {
        auto pages = stream::decode_pages(frame.payload, allowed_);
        if (!pages)
            return pass(pages);
        if (Status fits = check(channel, pages->table); !fits)
            return fits;
        auto runs = unpacker.unpack(*pages);
        if (!runs)
            return pass(runs);
        for (const stream::UnpackedRun& run : *runs) {
            if (Status applied = apply(pages->table.block, run); !applied)
                return applied;
            if (Status noted = note_digest(channel, pages->table.block, run.run); !noted)
                return noted;
        }
        return {};
    }
    if (frame.header.type == FrameType::RamDigest && digests_)
        return compare_digest(channel, frame);
    if (frame.header.type == FrameType::RoundEnd) {
        auto end = stream::decode_round_end(frame.payload);
        if (!end)
            return pass(end);
        if (end->last && digests_ && compared_[channel] == 0)
            return fail(ErrorKind::Protocol, "the source ended without the digest of its RAM");
        post_round_end(channel, *end);
        return {};
    }
    if (frame.header.type == FrameType::Missing)
        return note_missing(channel, frame);
    return fail(ErrorKind::Protocol,
                std::string("a data channel carried ") + stream::frame_name(frame.header.type));
}

Status RamReceiver::note_missing(size_t channel, const stream::Frame& frame)
{
    auto missing = stream::decode_missing(frame.payload);
    if (!missing)
        return pass(missing);
    if (Status exists = check_missing(*missing, ram_); !exists)
        return exists;
    for (const stream::MissingStripe& stripe : missing->stripes)
        if (stripe_channel(missing->block, stripe.first_page, channels_) != channel)
            return fail(ErrorKind::Protocol, "a page is missing on a data channel not its own");
    add_missing(*missing, missing_[missing->block]);
    for (const stream::MissingStripe& stripe : missing->stripes)
        leave_out(channel, missing->block, stripe);
    return {};
}

Status RamReceiver::check(size_t channel, const stream::PagesTable& table) const
{
    if (table.page_size != ram_page_size)
        return fail(ErrorKind::Protocol, "pages of " + std::to_string(table.page_size) +
                                             " bytes came, 4096 were agreed");
    if (table.block >= ram_.size())
        return fail(ErrorKind::Protocol, "pages came for RAM block " + std::to_string(table.block) +
                                             ", there are " + std::to_string(ram_.size()));
    for (const stream::PageRun& run : table.runs) {
        if (run.first_page + run.count > ram_[table.block].pages())
            return fail(ErrorKind::Protocol,
                        "pages came past the end of RAM block " + ram_[table.block].name);
        // Only its own stripes: threads of several channels share the bitmaps' memory.
        for (uint64_t page = run.first_page; page < run.first_page + run.count;
             page = (page / stripe_pages + 1) * stripe_pages)
            if (stripe_channel(table.block, page, channels_) != channel)
                return fail(ErrorKind::Protocol, "a page came on a data channel not its own");
    }
    return {};
}

Status RamReceiver::apply(size_t block, const stream::UnpackedRun& unpacked)
{
    const stream::PageRun& run = unpacked.run;
    if (run.encoding == PageEncoding::Zero || run.encoding == PageEncoding::Hole)
        return discard(block, run);
    if (Status written = put(block, unpacked); !written)
        return written;
    present_[block].set_range(run.first_page, run.count);
    pages_ += run.count;
    return {};
}

Status RamReceiver::put(size_t block, const stream::UnpackedRun& unpacked)
{
    if (unpacked.run.encoding == PageEncoding::Repeated)
        return repeat(block, unpacked);
    if (unpacked.run.encoding == PageEncoding::Delta)
        return change(block, unpacked);
    return writer_.write(block, unpacked.run.first_page * ram_page_size, unpacked.bytes);
}

/// Writes what a word each says of the run's pages.
Status RamReceiver::repeat(size_t block, const stream::UnpackedRun& unpacked)
{
    std::array<std::byte, ram_page_size> page;
    std::span<const std::byte> words = unpacked.bytes;
    for (uint64_t i = 0; i < unpacked.run.count; ++i) {
        for (size_t at = 0; at < page.size(); at += stream::repeated_word_size)
            memcpy(page.data() + at, words.data(), stream::repeated_word_size);
        words = words.subspan(stream::repeated_word_size);
        Status written = writer_.write(block, (unpacked.run.first_page + i) * ram_page_size, page);
        if (!written)
            return written;
    }
    return {};
}

/// Makes new versions out of those that came before. A source that reckons with another version
/// than the one that is here would harm the guest: better that it stays where it is.
Status RamReceiver::change(size_t block, const stream::UnpackedRun& unpacked)
{
    std::array<std::byte, ram_page_size> page;
    std::span<const std::byte> records = unpacked.bytes;
    for (uint64_t i = 0; i < unpacked.run.count; ++i) {
        const uint64_t offset = (unpacked.run.first_page + i) * ram_page_size;
        const size_t size = stream::delta_record_size(records);
        if (Status read = read_ram(ram_[block], offset, page); !read)
            return read;
        if (!stream::apply_delta(records.first(size), page.data()))
            return fail(ErrorKind::Protocol,
                        "a page came as the difference to a version that is not here",
                        "migrate again, with migrate-set-parameters xbzrle-cache-size=4096");
        if (Status written = writer_.write(block, offset, page); !written)
            return written;
        records = records.subspan(size);
    }
    return {};
}

Status RamReceiver::discard(size_t index, const stream::PageRun& run)
{
    PageBitmap& present = present_[index];
    const uint64_t end = run.first_page + run.count;
    for (uint64_t page = present.next_set(run.first_page, end); page < end;
         page = present.next_set(page, end)) {
        const uint64_t stop = present.next_clear(page, end);
        Status status = writer_.discard(index, page * ram_page_size, (stop - page) * ram_page_size);
        if (!status)
            return status;
        present.clear_range(page, stop - page);
        page = stop;
    }
    return {};
}

void RamReceiver::post_round_end(size_t channel, stream::RoundEnd end)
{
    loop::post([this, alive = alive_, channel, end] {
        if (*alive)
            round_end(channel, end);
    });
}

void RamReceiver::round_end(size_t channel, stream::RoundEnd end)
{
    rounds_[channel] = end.round;
    const uint32_t all = *std::min_element(rounds_.begin(), rounds_.end());
    if (all <= acknowledged_)
        return;
    acknowledged_ = all;
    callbacks_.round_ended(end);
}

} // namespace drover
