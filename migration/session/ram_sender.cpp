// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/ram_sender.h"

#include "util/defect.h"
#include "util/loop.h"

#include <algorithm>
#include <array>

namespace drover {

namespace {
constexpr uint64_t compared_pages = 64; // read at once, to be compared with what was sent
constexpr uint64_t left_sample = 64;    // of those that are left after a round
} // namespace

RamSender::RamSender(std::span<const RamBlock> ram, DirtyTracker& tracker, RateLimit& limit,
                     std::vector<std::unique_ptr<Channel>> channels, SendOptions options,
                     Callbacks callbacks)
    : ram_(ram), tracker_(tracker), limit_(limit), options_(options),
      callbacks_(std::move(callbacks)), holes_(ram), changed_holes_(ram.size()),
      workers_(channels.size())
{
    for (const RamBlock& block : ram_) {
        pending_.emplace_back(block.pages());
        present_.emplace_back(block.pages());
        written_.emplace_back(block.pages());
    }
    std::vector<uint64_t> pages;
    for (const RamBlock& block : ram_)
        pages.push_back(block.pages());
    for (size_t i = 0; i < workers_.size(); ++i) {
        Worker& worker = workers_[i];
        worker.channel = std::move(channels[i]);
        worker.writer = std::make_unique<stream::FrameWriter>(*worker.channel);
        worker.frames = std::make_unique<SentFrames>();
        worker.encoder = std::make_unique<PageEncoder>(options_.encodings, pages, workers_.size(),
                                                       progress_.encodings);
        worker.batch = std::make_unique<PageBatch>(*worker.writer, limit_, progress_,
                                                   *worker.encoder, *worker.frames);
        worker.stripes = stripes_of(ram_, i, workers_.size());
    }
    start_workers();
}

void RamSender::start_workers()
{
    running_ = workers_.size();
    for (size_t i = 0; i < workers_.size(); ++i)
        workers_[i].thread = std::thread([this, i, done = job_number_] { run(i, done); });
}

/// Not on the loop thread only after give_up(): then nobody writes to *alive_ any more.
RamSender::~RamSender()
{
    if (*alive_)
        *alive_ = false;
    abort();
    for (Worker& worker : workers_)
        if (worker.thread.joinable())
            worker.thread.join();
    tracker_.stop();
}

void RamSender::give_up()
{
    *alive_ = false;
    abort();
}

void RamSender::start_round(unsigned round, Round kind, bool leave_hot)
{
    start({.round = round, .kind = kind, .leave_hot = leave_hot});
}

void RamSender::start_last_round(unsigned round, uint64_t budget)
{
    start({.round = round, .kind = Round::Last, .budget = budget});
}

void RamSender::count_dirty()
{
    start({.count_only = true});
}

void RamSender::start(const Job& job)
{
    std::lock_guard lock(mutex_);
    job_ = job;
    hurry_ = false;
    if (!job.continued) {
        round_start_ = Clock::now();
        base_pages_ = progress_.pages_sent;
        base_zero_ = progress_.pages_zero;
        base_bytes_ = progress_.bytes;
        base_waited_us_ = progress_.encodings.waited_us;
    }
    working_ = workers_.size();
    ++job_number_;
    changed_.notify_all();
}

void RamSender::abort()
{
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
        changed_.notify_all();
    }
    limit_.stop();
    for (Worker& worker : workers_)
        worker.channel->abort();
}

std::optional<RamSender::Job> RamSender::next_job(uint64_t& done, size_t index)
{
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
        const bool ready = job_number_ > done && (index == 0 || prepared_ == job_number_);
        return stopping_ || ready;
    });
    if (stopping_)
        return std::nullopt;
    done = job_number_;
    return job_;
}

/// `done`: the job that was over when it started.
void RamSender::run(size_t index, uint64_t done)
{
    Status introduced = defects::guarded([&] { return introduce(index); });
    while (const auto job = next_job(done, index)) {
        Status status = introduced;
        if (index == 0) {
            if (status)
                status = defects::guarded([&] { return prepare(*job); });
            // Where it could not be prepared nobody works: finish() stops the others.
            std::lock_guard lock(mutex_);
            if (status && !job->count_only)
                begun_round_ = job->round;
            if (status)
                prepared_ = done;
            changed_.notify_all();
        }
        if (status && !job->count_only)
            status = defects::guarded([&] { return work(workers_[index], *job); });
        finish(*job, std::move(status));
    }
    worker_stopped();
}

Status RamSender::introduce(size_t index)
{
    Worker& worker = workers_[index];
    if (Status status = worker.writer->write_preamble(stream::ConnectionRole::Data); !status)
        return status;
    const stream::Bytes join =
        stream::encode(stream::Join{options_.token, static_cast<uint32_t>(index)});
    return worker.writer->write(stream::FrameType::Join, join);
}

/// Worker 0 alone, while the others wait.
Status RamSender::prepare(const Job& job)
{
    if (job.continued)
        return {};
    if (job.round == 1) {
        // First the tracker, then the look at what is there: a page that is filled in between is
        // seen by both, never by neither.
        if (Status status = tracker_.start(); !status)
            return status;
        if (Status status = compare_coarse_blocks(); !status)
            return status;
        if (Status status = keep_digests(); !status)
            return status;
        return find_data();
    }
    if (!job.count_only && options_.compare_holes)
        if (Status looked = look_for_changes(); !looked)
            return looked;
    // In the pause nobody waits for one thread's scan of all RAM: each stripe's turn collects it.
    const bool collects = job.kind != Round::Live && !tracker_.collects_ranges();
    if (job.count_only || collects)
        if (Status status = tracker_.collect_all(pending_); !status)
            return status;
    if (!job.count_only)
        return {}; // a page is compared when it is sent
    if (Status dropped = drop_unchanged(); !dropped)
        return dropped;
    return sample_pending();
}

Status RamSender::compare_coarse_blocks()
{
    for (size_t i = 0; i < ram_.size(); ++i) {
        if (!tracker_.is_coarse(i))
            continue;
        if (!sent_) {
            auto hashes = SentHashes::create();
            if (!hashes)
                return pass(hashes);
            sent_ = std::move(*hashes);
            for (Worker& worker : workers_)
                worker.batch->compare_with(*sent_);
        }
        if (Status kept = sent_->keep_for(i, ram_[i].pages()); !kept)
            return kept;
    }
    return {};
}

Status RamSender::keep_digests()
{
    if (!options_.verify)
        return {};
    auto digests = PageDigests::create(ram_);
    if (!digests)
        return pass(digests);
    digests_ = std::move(*digests);
    for (Worker& worker : workers_)
        worker.batch->keep_digest(*digests_);
    return {};
}

/// Of what a coarse tracker reports only what differs is left to send; the policy reckons with it.
Status RamSender::drop_unchanged()
{
    for (size_t i = 0; sent_ && i < ram_.size(); ++i) {
        if (!sent_->keeps(i))
            continue;
        const PageBitmap& pending = pending_[i];
        const uint64_t size = pending.size();
        for (uint64_t page = pending.next_set(0, size), end; page < size;
             page = pending.next_set(end, size)) {
            end = std::min(pending.next_clear(page, size), page + compared_pages);
            if (Status dropped = drop_unchanged(i, page, end); !dropped)
                return dropped;
        }
    }
    return {};
}

Status RamSender::drop_unchanged(size_t index, uint64_t first, uint64_t end)
{
    std::array<std::byte, compared_pages * ram_page_size> pages;
    const std::span<std::byte> into(pages.data(), (end - first) * ram_page_size);
    if (Status read = read_ram(ram_[index], first * ram_page_size, into); !read)
        return read;
    const std::byte* data = pages.data();
    for (uint64_t page = first; page < end; ++page, data += ram_page_size)
        if (present_[index].test(page) ? sent_->is_same(index, page, data) : is_zero_page(data))
            pending_[index].clear(page);
    return {};
}

/// Looks at some pages of those that are left, spread over all of them, so that it is known before
/// the round to come what deltas will gain in it.
Status RamSender::sample_pending()
{
    sample_ = {};
    const uint64_t stride = std::max<uint64_t>(count_pending() / left_sample, 1);
    uint64_t passed = 0;
    for (size_t i = 0; i < ram_.size(); ++i) {
        const PageBitmap& pending = pending_[i];
        for (uint64_t page = pending.next_set(0, pending.size()); page < pending.size();
             page = pending.next_set(page + 1, pending.size()))
            if (passed++ % stride == 0)
                if (Status sampled = sample_page(i, page); !sampled)
                    return sampled;
    }
    return {};
}

Status RamSender::sample_page(size_t block, uint64_t page)
{
    std::array<std::byte, ram_page_size> data;
    if (Status read = read_ram(ram_[block], page * ram_page_size, data); !read)
        return read;
    const size_t channel = stripe_channel(block, page, workers_.size());
    sample_.bytes += workers_[channel].encoder->expected_bytes(block, page, data.data());
    ++sample_.pages;
    return {};
}

Status RamSender::find_data()
{
    for (size_t i = 0; i < ram_.size(); ++i) {
        Status status = holes_.first_look(
            i, [&](uint64_t first, uint64_t count) { pending_[i].set_range(first, count); });
        if (!status)
            return status;
    }
    return {};
}

Status RamSender::look_for_changes()
{
    for (size_t i = 0; i < ram_.size(); ++i) {
        auto changed = holes_.has_changed(i);
        if (!changed)
            return pass(changed);
        changed_holes_[i] = *changed ? 1 : 0;
    }
    return {};
}

/// Each worker at its round's end. The last one reports; the first failure is reported at once and
/// stops the others.
void RamSender::finish(const Job& job, Status status)
{
    bool last = false;
    bool first_failure = false;
    {
        std::lock_guard lock(mutex_);
        first_failure = !status && !failed_;
        failed_ = failed_ || !status;
        last = --working_ == 0 && !failed_;
    }
    if (first_failure) {
        post_round(pass(status));
        abort();
    } else if (last && job.count_only) {
        const double page_bytes =
            sample_.pages > 0 ? sample_.bytes / static_cast<double>(sample_.pages) : ram_page_size;
        post_count(DirtyCount{count_pending(), page_bytes});
    } else if (last) {
        post_round(measure(job));
    }
}

RoundStats RamSender::measure(const Job& job) const
{
    RoundStats stats;
    stats.round = job.round;
    stats.guest_paused = job.last();
    stats.seconds = seconds_since(round_start_);
    stats.pages_sent = progress_.pages_sent - base_pages_;
    stats.pages_zero = progress_.pages_zero - base_zero_;
    stats.bytes = progress_.bytes - base_bytes_;
    // Encoded pages take the processor's time, and their bytes then say little of the link.
    const double waited_s =
        static_cast<double>(progress_.encodings.waited_us - base_waited_us_) * 1e-6;
    stats.held_by_encoding = stats.bytes < stats.pages_sent * ram_page_size * 9 / 10 &&
                             waited_s < 0.3 * stats.seconds * static_cast<double>(workers_.size());
    return stats;
}

uint64_t RamSender::count_pending() const
{
    uint64_t pages = 0;
    for (const PageBitmap& block : pending_)
        pages += block.count();
    return pages;
}

void RamSender::post_round(Result<RoundStats> result)
{
    loop::post(
        [alive = alive_, call = &callbacks_.round_done, result = std::move(result)]() mutable {
            if (*alive)
                (*call)(std::move(result));
        });
}

void RamSender::post_count(Result<DirtyCount> result)
{
    loop::post([alive = alive_, call = &callbacks_.counted, result = std::move(result)]() mutable {
        if (*alive)
            (*call)(std::move(result));
    });
}

} // namespace drover
