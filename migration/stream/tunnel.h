// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/stream/frame_io.h"

#include <functional>
#include <map>
#include <memory>

namespace drover::stream {

/// Carries any number of byte streams over one connection, for migrations over a descriptor that
/// somebody else connected (fd:), where no second connection can be made. Each stream ends in a
/// UNIX socket on either side, so that sessions need not know. Loop thread only.
class Tunnel {
public:
    struct Callbacks {
        std::function<void(UniqueFd)> opened; ///< the other side opened a stream
        std::function<void(Error)> closed;    ///< once: the connection broke; all streams end
    };

    /// At the source: sends the preamble. At the destination it has been read.
    Tunnel(Socket socket, bool is_source, Callbacks callbacks);
    ~Tunnel();
    Tunnel(const Tunnel&) = delete;
    Tunnel& operator=(const Tunnel&) = delete;

    /// Source: a new stream; its end here. When the session has closed all that it opened, the
    /// connection is closed: who made it waits for its end.
    [[nodiscard]] Result<UniqueFd> open();

private:
    struct Stream;

    [[nodiscard]] Result<UniqueFd> add(uint32_t id);
    void watch(Stream& stream);
    void read_local(Stream& stream);
    void write_local(Stream& stream);
    void forget_if_done(uint32_t id);
    void end_if_done();
    void handle(const Frame& frame);
    void hold_locals(bool hold);
    void update_hold();
    void broke(Error error);

    Callbacks callbacks_;
    bool is_source_;
    std::unique_ptr<FrameConnection> connection_; ///< null when it has ended
    std::map<uint32_t, std::unique_ptr<Stream>> streams_;
    uint32_t next_id_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::stream
