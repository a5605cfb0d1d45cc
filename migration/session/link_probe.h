// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/judgement.h"
#include "migration/stream/frame_io.h"
#include "migration/transport/tls_handshake.h"
#include "util/clock.h"
#include "util/loop.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace drover {

/// What a waiting destination and the link to it are like.
struct LinkReport {
    double bytes_s = 0;      ///< goodput of one connection
    double round_trip_s = 0; ///< the shortest that was seen
    std::string no_postcopy; ///< why the destination has none, in words; empty if it has
    std::optional<Judgement>
        judgement; ///< of the hello; a destination of an older release has none
};

/// Asks a waiting destination what it thinks of a guest, and measures the link to it, for a
/// forecast: some round trips, then data for a third of a second. The destination takes no notice
/// otherwise. Loop thread only.
class LinkProbe {
public:
    struct Wish {
        MigrationPeer destination;
        std::optional<stream::Hello> hello; ///< to be judged
        bool measure = true;
    };
    /// `done` is called once, never from within the constructor.
    LinkProbe(Wish wish, std::function<void(Result<LinkReport>)> done);
    ~LinkProbe();
    LinkProbe(const LinkProbe&) = delete;
    LinkProbe& operator=(const LinkProbe&) = delete;

private:
    void connected(Result<Socket> socket);
    void handle(const stream::Frame& frame);
    void informed(const Json& info);
    void judged(const stream::Frame& frame);
    void measure();
    void ponged();
    void fill(uint64_t placed);
    void placed(uint64_t bytes);
    void finish(Result<LinkReport> result);

    Wish wish_;
    std::function<void(Result<LinkReport>)> done_;
    std::unique_ptr<Connecting> connecting_;
    std::unique_ptr<stream::FrameConnection> connection_;
    loop::Source limit_;
    LinkReport report_;
    bool informed_ = false;
    bool asked_ = false;    ///< for the judgement
    bool measures_ = false; ///< pings are under way, or data
    unsigned pings_ = 0;
    TimePoint pinged_{};
    stream::Bytes piece_;
    uint64_t sent_ = 0;
    std::optional<std::pair<uint64_t, TimePoint>> first_placed_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// The other end, of one connection.
class ProbeAnswer {
public:
    /// `closed` is called once; not from within the constructor. `machine`: what waits here.
    ProbeAnswer(Socket socket, Machine& machine, std::function<void()> closed);
    ~ProbeAnswer();
    ProbeAnswer(const ProbeAnswer&) = delete;
    ProbeAnswer& operator=(const ProbeAnswer&) = delete;

private:
    void handle(const stream::Frame& frame);
    void judge(const stream::Frame& frame);
    void close();

    Machine& machine_;

    std::unique_ptr<stream::FrameConnection> connection_;
    std::function<void()> closed_;
    loop::Source limit_;
    uint64_t taken_ = 0;
    bool judged_ = false; ///< once a connection
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover
