// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame_io.h"
#include "migration/stream/messages.h"
#include "migration/stream/postcopy.h"
#include "migration/transport/tls_handshake.h"
#include "util/loop.h"

#include <functional>
#include <memory>

namespace drover {

/// Whether that is why a call failed: the destination's host is there, and nobody listens.
[[nodiscard]] bool nobody_listens(const Error& error);

/// After a break the source calls the destination over fresh connections, again and again with
/// growing pauses, until it answers: between Commit and Running it does not know who owns the
/// guest, and in post-copy it has pages that the guest there needs. Loop thread only.
class CommitAsker {
public:
    enum class Purpose {
        Commit,   ///< after Ready the destination is sent Commit at once
        TakeBack, ///< the source, which had not committed, has the guest: it is sent Abort
        GiveBack, ///< the guest arrived paused there, and is wanted here: it is sent Abort, and
                  ///< answers NotReady (it is ours again) or Committed (it has run there)
        Nothing,  ///< it was disarmed
        Postcopy, ///< as Commit; and when the guest is the destination's, whether it lacks pages
        GoOn,     ///< in the middle of the copy: whether the destination still awaits its rest
    };

    /// `answered` gets each answer; Committed or Arrived follows when a Commit was carried out.
    /// `answered` may not destroy the asker. After Postcopy, and Receiving, take_connection() may
    /// be called, later.
    CommitAsker(MigrationPeer peer, const stream::SessionToken& token, Purpose purpose,
                std::function<void(stream::Outcome)> answered);
    ~CommitAsker();

    /// Nothing is sent or answered any more: what it was asked for has been decided otherwise. At
    /// once, so that a Ready which is read in the same moment is not answered by Commit.
    void disarm() { purpose_ = Purpose::Nothing; }

    /// The destination has answered lately, or is about to: it is there, and knows whose the guest
    /// is.
    [[nodiscard]] bool reaches_peer() const;

    /// TakeBack: the destination has been told, or has nothing to be told.
    [[nodiscard]] bool finished() const { return finished_; }

    /// After so long there is nobody left who would have to be told.
    void give_up_after(std::chrono::milliseconds time);

    /// Called for each call that fails.
    void on_unreachable(std::function<void(const Error&)> unreachable)
    {
        unreachable_ = std::move(unreachable);
    }

    /// Called for each page that the destination, which is starting the guest, lacks. `connection`
    /// is for the answer, and lives for the call only.
    void on_page_request(
        std::function<Status(const stream::PageRequest&, stream::FrameConnection& connection)>
            serve)
    {
        serve_ = std::move(serve);
    }

    /// The connection over which that answer came; nothing is read from it until
    /// hold_input(false).
    [[nodiscard]] std::unique_ptr<stream::FrameConnection> take_connection();

private:
    void attempt();
    [[nodiscard]] std::chrono::milliseconds next_limit();
    void retry();
    void connected(Result<Socket> socket);
    void handle(const stream::Frame& frame);
    void handle_outcome(stream::Outcome outcome);
    void handle_page_request(const stream::Frame& frame);
    void await_answer();

    MigrationPeer peer_;
    stream::SessionToken token_;
    Purpose purpose_;
    std::function<void(stream::Outcome)> answered_;
    std::function<void(const Error&)> unreachable_;
    std::function<Status(const stream::PageRequest&, stream::FrameConnection&)> serve_;
    std::unique_ptr<Connecting> connecting_;
    std::unique_ptr<stream::FrameConnection> connection_;
    std::chrono::milliseconds pause_{100};
    unsigned attempts_ = 0;
    TimePoint heard_{}; ///< when it answered last; the epoch: never
    bool finished_ = false;
    loop::Source timer_;
    loop::Source give_up_timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
