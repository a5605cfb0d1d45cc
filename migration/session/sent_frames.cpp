// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/sent_frames.h"

#include <string>

namespace drover {

void SentFrames::begin_round()
{
    acknowledged_ += ends_.size();
    runs_.clear();
    ends_.clear();
}

/// Runs that differ in their encoding alone are one here.
void SentFrames::add(const stream::PagesTable& table)
{
    const size_t start = runs_.size();
    for (const stream::PageRun& run : table.runs) {
        const bool follows =
            runs_.size() > start && runs_.back().first + runs_.back().count == run.first_page;
        if (follows)
            runs_.back().count += run.count;
        else
            runs_.push_back({run.first_page, table.block, run.count});
    }
    ends_.push_back(runs_.size());
}

Status SentFrames::keep_first(uint64_t applied, const Lost& lost)
{
    if (applied < acknowledged_ || applied > count())
        return fail(ErrorKind::Protocol,
                    "the destination says that it has " + std::to_string(applied) +
                        " frames of a data channel, where it has acknowledged " +
                        std::to_string(acknowledged_) + " and " + std::to_string(count()) +
                        " were sent");
    const size_t frames = applied - acknowledged_;
    const size_t runs = frames > 0 ? ends_[frames - 1] : 0;
    for (size_t i = runs; i < runs_.size(); ++i)
        lost(runs_[i].block, runs_[i].first, runs_[i].count);
    runs_.resize(runs);
    ends_.resize(frames);
    return {};
}

} // namespace drover
