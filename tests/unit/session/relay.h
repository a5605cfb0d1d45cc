// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame.h"
#include "migration/transport/address.h"

#include <functional>
#include <list>
#include <memory>

namespace drover::testing {

/// The network between source and destination, as far as it can do harm: it passes connections on
/// and breaks them where the test says, to the frame. UNIX sockets. Loop thread only.
class Relay {
public:
    struct Passing {
        stream::ConnectionRole role{}; ///< Control or Ask; data connections are passed on unread
        bool to_destination = false;
        stream::FrameType type{};
    };
    enum class Verdict {
        Pass,
        CutBefore, ///< the frame is lost, and the link with it
        CutAfter,  ///< the frame arrives, and then the link breaks
        Stall,     ///< the frame and all after it, both ways, neither arrive nor fail
    };

    Relay(const std::string& listen_path, std::string target_path);
    ~Relay();
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

    std::function<Verdict(const Passing&)> judge;
    /// Of so many bytes on a data connection, which arrived together: Pass, or CutBefore.
    std::function<Verdict(size_t bytes)> judge_data;
    /// What comes in from now on is closed at once.
    bool refuses = false;
    int refused = 0; ///< so many

    [[nodiscard]] MigrationAddress address() const { return listening_->address(); }

    void cut();   ///< all connections that are there now
    void stall(); ///< the same, but nobody is told
    void resume();

private:
    class Line;
    void accept(UniqueFd socket);
    [[nodiscard]] Verdict judged(const Passing& passing);

    std::string target_path_;
    std::unique_ptr<Listening> listening_;
    std::list<std::shared_ptr<Line>> lines_;
};

} // namespace drover::testing
