// SPDX-License-Identifier: GPL-2.0-or-later
//
// A worker's way through its stripes.
#include "migration/session/ram_sample.h"
#include "migration/session/ram_sender.h"

#include <algorithm>

namespace drover {

namespace {
/// So many are sent before the budget is looked at again: a few milliseconds of a slow link.
constexpr uint64_t budgeted_pages = 64;
} // namespace

Status RamSender::work(Worker& worker, const Job& job)
{
    worker.batch->begin_round(job.round, job.last());
    if (!job.continued)
        worker.frames->begin_round();
    std::vector<Stripe> put_off;
    for (const Stripe& stripe : worker.stripes) {
        if (auto hot = is_hot(stripe, job); !hot)
            return pass(hot);
        else if (*hot)
            put_off.push_back(stripe);
        else if (Status status = send_stripe(worker, stripe, job); !status)
            return status;
        if (hurry_ && !job.last())
            break;
    }
    // A frame's pages ascend, and the ones put off lie before where we are.
    if (Status status = worker.batch->flush(); !status)
        return status;
    for (const Stripe& stripe : hurry_ && !job.last() ? std::vector<Stripe>() : put_off)
        if (Status status = send_stripe(worker, stripe, job); !status)
            return status;
    if (Status status = worker.batch->flush(); !status)
        return status;
    if (Status status = flush_told(worker); !status)
        return status;
    if (job.last() && digests_)
        if (Status told = tell_digest(worker); !told)
            return told;
    worker.frames->add_round_end();
    const stream::Bytes end = stream::encode(stream::RoundEnd{job.round, job.last()});
    return worker.writer->write(stream::FrameType::RoundEnd, end);
}

/// The guest stands still, and all was sent or told: what did not show as written is as it was.
Status RamSender::tell_digest(Worker& worker)
{
    const auto is_told = [this](size_t block, uint64_t page) { return pending_[block].test(page); };
    if (Status same = look_at_sample(ram_, *digests_, worker.stripes, is_told); !same)
        return fail(ErrorKind::Machine, same.error().message,
                    "the guest stays here; this is a fault of the dirty tracker: please report it");
    return worker.writer->write(stream::FrameType::RamDigest,
                                stream::encode_u64(worker.batch->digest()));
}

/// In the first round, what the guest writes to waits until the rest is gone: the sooner a page is
/// sent, the likelier it is written again before the round is over.
Result<bool> RamSender::is_hot(const Stripe& stripe, const Job& job)
{
    if (job.round != 1 || !tracker_.collects_ranges() ||
        pending_[stripe.block].next_set(stripe.first, stripe.end) == stripe.end)
        return false;
    if (Status status = collect_stripe(stripe); !status)
        return pass(status);
    return written_[stripe.block].next_set(stripe.first, stripe.end) < stripe.end;
}

/// What was written to the stripe since it was last collected goes to written_, and is pending.
Status RamSender::collect_stripe(const Stripe& stripe)
{
    PageBitmap& written = written_[stripe.block];
    written.clear_range(stripe.first, stripe.end - stripe.first);
    if (tracker_.collects_ranges()) {
        Status status = tracker_.collect(stripe.block, stripe.first, stripe.end, written);
        if (!status)
            return status;
        pending_[stripe.block].add(written, stripe.first, stripe.end);
    }
    if (options_.compare_holes)
        holes_.note_written(stripe.block, written, stripe.first, stripe.end);
    return {};
}

/// In the first round every page is pending, so that one write says little of it; but where many
/// pages of a stripe were written already, they will be again.
bool RamSender::leaves(const Stripe& stripe, const Job& job) const
{
    constexpr uint64_t hot_part = 3; // tenths
    if (!job.leave_hot)
        return false;
    return job.round != 1 || written_[stripe.block].count(stripe.first, stripe.end) * 10 >
                                 (stripe.end - stripe.first) * hot_part;
}

Status RamSender::send_stripe(Worker& worker, const Stripe& stripe, const Job& job)
{
    PageBitmap& pending = pending_[stripe.block];
    find_new_holes(stripe);
    const bool nothing = pending.next_set(stripe.first, stripe.end) == stripe.end;
    if (nothing && (job.kind == Round::Live || !tracker_.collects_ranges()))
        return {};
    if (Status status = collect_stripe(stripe); !status)
        return status;
    const PageBitmap& written = written_[stripe.block];
    const bool leave = leaves(stripe, job);
    for (uint64_t page = pending.next_set(stripe.first, stripe.end); page < stripe.end;
         page = pending.next_set(page, stripe.end)) {
        if (is_spent(job))
            return tell_stripe(worker, stripe);
        uint64_t end = std::min(pending.next_clear(page, stripe.end), page + budgeted_pages);
        if (leave && written.test(page)) {
            page = written.next_clear(page, end);
            continue;
        }
        if (leave)
            end = written.next_set(page, end);
        pending.clear_range(page, end - page);
        Status status = worker.batch->add(stripe.block, ram_[stripe.block], present_[stripe.block],
                                          page, end - page);
        if (!status) {
            pending.set_range(page, end - page); // none of them, or some, were gathered
            return status;
        }
        page = end;
    }
    return {};
}

/// Post-copy brings the rest.
bool RamSender::is_spent(const Job& job) const
{
    return job.budget <= progress_.bytes - base_bytes_;
}

Status RamSender::tell_stripe(Worker& worker, const Stripe& stripe)
{
    if (worker.told.block != stripe.block ||
        worker.told.stripes.size() == stream::max_missing_stripes)
        if (Status status = flush_told(worker); !status)
            return status;
    worker.told.block = static_cast<uint32_t>(stripe.block);
    append_missing(pending_[stripe.block], stripe.first, stripe.end, worker.told.stripes);
    const PageBitmap& told = pending_[stripe.block];
    for (uint64_t page = told.next_set(stripe.first, stripe.end); page < stripe.end;
         page = told.next_set(page + 1, stripe.end))
        worker.batch->leave_out(stripe.block, page);
    return {};
}

Status RamSender::flush_told(Worker& worker)
{
    if (worker.told.stripes.empty())
        return {};
    const stream::Bytes payload = stream::encode(worker.told);
    worker.told.stripes.clear();
    progress_.bytes += stream::header_size + payload.size();
    return worker.writer->write(stream::FrameType::Missing, payload);
}

/// What the guest gave back (a balloon) does not show as written: finds the stripe's holes that the
/// destination has pages for, and makes them pending. They are read like any page: that it holds
/// nothing is said of a page that was seen to hold nothing, and never because it was counted so.
void RamSender::find_new_holes(const Stripe& stripe)
{
    if (!options_.compare_holes)
        return;
    PageBitmap& pending = pending_[stripe.block];
    holes_.note_written(stripe.block, pending, stripe.first, stripe.end);
    if (changed_holes_[stripe.block] == 0)
        return;
    holes_.look(stripe.block, stripe.first, stripe.end);
    const PageBitmap& present = present_[stripe.block];
    const PageBitmap& data = holes_.data(stripe.block);
    for (uint64_t word = stripe.first; word < stripe.end; word += 64)
        pending.set_word(word, present.word(word) & ~data.word(word));
}

} // namespace drover
