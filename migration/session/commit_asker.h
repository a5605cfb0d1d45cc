// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame_io.h"
#include "migration/stream/messages.h"
#include "migration/transport/address.h"
#include "util/loop.h"

#include <functional>
#include <memory>

namespace drover {

/// After a break between Commit and Running the source does not know who owns the guest. This asks
/// the destination over fresh connections, again and again with growing pauses, until it answers.
/// Loop thread only.
class CommitAsker {
public:
    /// `answered` gets each answer; after Ready the destination is sent Commit on the same
    /// connection at once, and Committed follows when it has carried it out. `answered` may not
    /// destroy the asker.
    /// With `take_back` it is sent Abort instead: the source, which had not committed, has the
    /// guest.
    CommitAsker(MigrationAddress address, const stream::SessionToken& token, bool take_back,
                std::function<void(stream::Outcome)> answered);
    ~CommitAsker();

private:
    void attempt();
    void retry();
    void connected(Result<UniqueFd> socket);
    void handle(const stream::Frame& frame);

    MigrationAddress address_;
    stream::SessionToken token_;
    bool take_back_;
    std::function<void(stream::Outcome)> answered_;
    std::unique_ptr<Connecting> connecting_;
    std::unique_ptr<stream::FrameConnection> connection_;
    std::chrono::milliseconds pause_{100};
    loop::Source timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
