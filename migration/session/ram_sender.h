// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/policy.h"
#include "migration/ram/dirty_tracker.h"
#include "migration/ram/hole_finder.h"
#include "migration/ram/page_digests.h"
#include "migration/ram/ram_block.h"
#include "migration/ram/sent_hashes.h"
#include "migration/session/missing_pages.h"
#include "migration/session/page_batch.h"
#include "migration/session/ram_stripe.h"
#include "migration/stream/messages.h"
#include "migration/stream/resume.h"
#include "migration/transport/channel.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace drover {

struct SendOptions {
    stream::SessionToken token{};
    /// The guest may punch holes into its RAM: compare holes.
    bool compare_holes = false;
    EncodingBounds encodings = {};
    bool verify = false; ///< tell a digest of what was sent, and look at what was not sent again
};

/// Sends the guest's RAM in rounds over N data channels, one worker thread each.
///
/// A round goes through all stripes. Just before a stripe is sent, what was written to it since is
/// collected too, so that a page that was written before its turn is sent once and not twice.
/// Public functions: loop thread only, unless said otherwise.
class RamSender {
public:
    enum class Round {
        Live,      ///< sends what was counted; the guest runs
        Switching, ///< the guest is about to be paused: collects first, since nobody counted
        Last,      ///< the guest is paused: all that is left
    };

    /// What is left to send.
    struct DirtyCount {
        uint64_t pages = 0;
        double page_bytes = ram_page_size; ///< that one takes on the wire, by a sample
    };

    /// Posted to the loop thread.
    struct Callbacks {
        /// The round was sent: its statistics (`seconds` without the acknowledgement, `pages_dirty`
        /// not yet known), or why it failed.
        std::function<void(Result<RoundStats>)> round_done;
        /// What count_dirty() found.
        std::function<void(Result<DirtyCount>)> counted;
        /// No worker runs any more, after a failure or abort(): go_on() may be called.
        std::function<void()> stopped;
    };

    /// The session's `ram`, `tracker` and `limit` must outlive the sender. The channels' preamble
    /// and Join frame are sent by the workers.
    RamSender(std::span<const RamBlock> ram, DirtyTracker& tracker, RateLimit& limit,
              std::vector<std::unique_ptr<Channel>> channels, SendOptions options,
              Callbacks callbacks);
    /// Aborts and joins; nothing is called any more. A worker can be held up (it stands in a read
    /// of swapped memory, or the hypervisor's threads do not stop), and the tracker's end takes its
    /// time: give_up() first, and leave it to another thread.
    ~RamSender();

    /// Aborts; nothing is called any more.
    void give_up();

    /// Begins a round. Only when neither a round nor a count is under way.
    /// `leave_hot`: pages that are found written again when their turn comes wait for the next
    /// round (in the first one: where a good part of their stripe was).
    void start_round(unsigned round, Round kind, bool leave_hot = false);

    /// The last round, with post-copy to follow: the guest is paused, and once so many bytes were
    /// sent, what is left is told and not sent.
    void start_last_round(unsigned round, uint64_t budget);

    /// From now on all rounds but the last end where they are, and leave the rest to it: the guest
    /// is paused, or about to be for post-copy.
    void hurry() { hurry_ = true; }

    /// After the last round: what was told and not sent, one bitmap a block.
    [[nodiscard]] std::vector<PageBitmap> take_pending() { return std::move(pending_); }

    /// Collects all that was written, and counts what is left to send.
    void count_dirty();

    /// Wakes all workers, which stop; the round under way fails, and with it a count.
    void abort();

    /// After `stopped`, with as many channels as before, the link being another one: what the
    /// destination does not have of what was sent is pending again. Fails (Protocol) if that cannot
    /// be.
    [[nodiscard]] Status go_on(std::vector<std::unique_ptr<Channel>> channels,
                               const stream::ResumePoint& point);
    /// Then: sends the rest of the round that failed.
    void continue_round(unsigned round, bool leave_hot);

    [[nodiscard]] const SendProgress& progress() const { return progress_; }

private:
    struct Job {
        unsigned round = 0;
        Round kind = Round::Live;
        bool count_only = false; ///< worker 0 alone has work to do
        bool leave_hot = false;
        bool continued = false;       ///< its start is behind us: the link broke meanwhile
        uint64_t budget = UINT64_MAX; ///< of the last round, bytes

        [[nodiscard]] bool last() const { return kind == Round::Last; }
    };
    struct Worker {
        std::unique_ptr<Channel> channel;
        std::unique_ptr<stream::FrameWriter> writer;
        std::unique_ptr<PageEncoder> encoder;
        std::unique_ptr<SentFrames> frames;
        std::unique_ptr<PageBatch> batch;
        std::vector<Stripe> stripes;
        stream::MissingPages told; ///< not sent yet
        std::thread thread;
    };

    void start_workers();
    void run(size_t index, uint64_t done);
    [[nodiscard]] Status introduce(size_t index);
    [[nodiscard]] Status work(Worker& worker, const Job& job);
    [[nodiscard]] Status collect_stripe(const Stripe& stripe);
    [[nodiscard]] bool leaves(const Stripe& stripe, const Job& job) const;
    [[nodiscard]] Result<bool> is_hot(const Stripe& stripe, const Job& job);
    [[nodiscard]] Status send_stripe(Worker& worker, const Stripe& stripe, const Job& job);
    [[nodiscard]] Status tell_stripe(Worker& worker, const Stripe& stripe);
    [[nodiscard]] Status flush_told(Worker& worker);
    [[nodiscard]] bool is_spent(const Job& job) const;
    void find_new_holes(const Stripe& stripe);
    [[nodiscard]] Status look_for_changes();
    [[nodiscard]] Status prepare(const Job& job);
    [[nodiscard]] Status find_data();
    [[nodiscard]] Status compare_coarse_blocks();
    [[nodiscard]] Status keep_digests();
    [[nodiscard]] Status tell_digest(Worker& worker);
    [[nodiscard]] Status drop_unchanged();
    [[nodiscard]] Status drop_unchanged(size_t index, uint64_t first, uint64_t end);
    [[nodiscard]] std::optional<Job> next_job(uint64_t& done, size_t index);
    void finish(const Job& job, Status status);
    [[nodiscard]] RoundStats measure(const Job& job) const;
    [[nodiscard]] uint64_t count_pending() const;
    void start(const Job& job);
    void post_round(Result<RoundStats> result);
    void post_count(Result<DirtyCount> result);
    void worker_stopped();
    void lose(Worker& worker, size_t block, uint64_t first, uint64_t count);
    [[nodiscard]] Status sample_pending();
    [[nodiscard]] Status sample_page(size_t block, uint64_t page);

    std::span<const RamBlock> ram_;
    DirtyTracker& tracker_;
    RateLimit& limit_;
    SendOptions options_;
    Callbacks callbacks_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // loop thread

    // Disjoint ranges are used by the workers at once; whole ones only while all but one wait.
    std::vector<PageBitmap> pending_; ///< to be sent
    std::vector<PageBitmap> present_; ///< not zero at the destination
    std::vector<PageBitmap> written_; ///< found by collect_stripe()
    HoleFinder holes_;
    std::vector<char> changed_holes_;    ///< by block: look for holes in this round
    std::optional<SentHashes> sent_;     ///< where the tracker is coarse
    std::optional<PageDigests> digests_; ///< where they are wished for
    SendProgress progress_;
    std::atomic<bool> hurry_{false};
    std::vector<Worker> workers_;

    std::mutex mutex_;
    std::condition_variable changed_;
    Job job_;                  // guarded by mutex_
    uint64_t job_number_ = 0;  // guarded by mutex_; counts start_round calls
    uint64_t prepared_ = 0;    // guarded by mutex_; the job that worker 0 has prepared
    unsigned begun_round_ = 0; // guarded by mutex_; the latest whose preparation succeeded
    size_t working_ = 0;       // guarded by mutex_; workers that have not finished the job
    bool stopping_ = false;    // guarded by mutex_
    size_t running_ = 0;       // guarded by mutex_; workers that have not stopped
    bool failed_ = false;      // guarded by mutex_
    TimePoint round_start_{};  // written by start_round, read by the last worker
    uint64_t base_pages_ = 0, base_zero_ = 0, base_bytes_ = 0; // progress at the round's start
    uint64_t base_waited_us_ = 0;
    struct Sample {
        uint64_t pages = 0;
        double bytes = 0;
    };
    Sample sample_; ///< of what is pending; worker 0, while the others wait
};

} // namespace drover
