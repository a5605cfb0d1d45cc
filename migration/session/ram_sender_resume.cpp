// SPDX-License-Identifier: GPL-2.0-or-later
//
// A link that broke while pages of the guest's RAM were on it: what was lost is pending again.
#include "migration/session/ram_sender.h"

#include "util/loop.h"

namespace drover {

void RamSender::worker_stopped()
{
    {
        std::lock_guard lock(mutex_);
        if (--running_ > 0)
            return;
    }
    loop::post([alive = alive_, call = &callbacks_.stopped] {
        if (*alive && *call)
            (*call)();
    });
}

Status RamSender::go_on(std::vector<std::unique_ptr<Channel>> channels,
                        const stream::ResumePoint& point)
{
    if (point.frames.size() != workers_.size() || channels.size() != workers_.size())
        return fail(ErrorKind::Protocol,
                    "the destination goes on with " + std::to_string(point.frames.size()) +
                        " data channels, where there were " + std::to_string(workers_.size()));
    for (size_t i = 0; i < workers_.size(); ++i) {
        Worker& worker = workers_[i];
        worker.thread.join();
        const auto lost = [&](size_t block, uint64_t first, uint64_t count) {
            lose(worker, block, first, count);
        };
        worker.batch->drop(lost);
        if (Status known = worker.frames->keep_first(point.frames[i], lost); !known)
            return known;
        worker.channel = std::move(channels[i]);
        worker.writer = std::make_unique<stream::FrameWriter>(*worker.channel);
        worker.batch->write_to(*worker.writer);
    }
    options_.token = point.join;
    stopping_ = failed_ = false;
    limit_.start();
    start_workers();
    return {};
}

/// Whether the destination has this version, one before, or nothing of a page is not known: it is
/// sent whole, even if it is zero.
void RamSender::lose(Worker& worker, size_t block, uint64_t first, uint64_t count)
{
    pending_[block].set_range(first, count);
    present_[block].set_range(first, count);
    for (uint64_t page = first; page < first + count; ++page) {
        worker.encoder->forget(block, page);
        if (sent_ && sent_->keeps(block))
            sent_->forget(block, page);
    }
}

/// A round of which nothing was prepared, since the link broke before, is one that begins: else
/// nothing would be pending in it, and the guest would move without its RAM.
void RamSender::continue_round(unsigned round, bool leave_hot)
{
    const bool has_begun = begun_round_ == round;
    start({.round = round, .leave_hot = leave_hot, .continued = has_begun});
}

} // namespace drover
