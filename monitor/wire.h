// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/loop.h"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace drover {

/// The bytes and descriptors of one QMP connection, either end: never blocks the loop, never raises
/// SIGPIPE on a socket. Loop thread only. Callbacks may let go of the wire or close it.
class Wire : public std::enable_shared_from_this<Wire> {
public:
    struct Callbacks {
        std::function<void(std::string_view bytes, std::vector<UniqueFd> fds)> received;
        std::function<void(Error)> closed; ///< once, from the loop; not after close()
    };

    /// A peer that leaves so many bytes unread when there is more to say is given up. One answer
    /// may be larger: how large a command's answer is, is not the client's fault.
    static constexpr size_t max_unsent = 64U << 20;
    /// The kernel's limit for one message.
    static constexpr size_t max_fds = 253;

    /// `in` is a connected socket used both ways, or `out` is for writing (standard input and
    /// output): then the end of the input does not close the wire, so that the answers to what
    /// `echo … |` sent are still written.
    [[nodiscard]] static std::shared_ptr<Wire> open(UniqueFd in, UniqueFd out, Callbacks callbacks);

    /// Queues `bytes`; `fds` (at most max_fds) travel with the first of them and are closed here
    /// afterwards.
    void send(std::string bytes, std::vector<UniqueFd> fds = {});

    /// Back-pressure: while off, the peer's bytes stay in the kernel. Reading is on at first.
    void set_reading(bool on);

    /// Ends it at once: no callback follows, what was not sent is dropped.
    void close();

    [[nodiscard]] bool passes_fds() const { return passes_fds_; } ///< a UNIX socket

private:
    struct Chunk {
        std::string bytes;
        size_t sent = 0;
        std::vector<UniqueFd> fds;
    };
    using Member = void (Wire::*)();

    Wire(UniqueFd in, UniqueFd out, Callbacks callbacks);
    loop::Source watch(int fd, GIOCondition condition, Member member);
    void on_readable();
    void on_writable();
    ssize_t receive(std::vector<UniqueFd>& fds, bool& fds_lost);
    ssize_t send_some(const Chunk& chunk);
    void end(Error why);
    void hear_last_words();
    void stop();
    [[nodiscard]] int out_fd() const { return out_ ? out_.get() : in_.get(); }

    UniqueFd in_;
    UniqueFd out_;
    Callbacks callbacks_;
    bool is_socket_ = false; // in_
    bool out_is_socket_ = false;
    bool passes_fds_ = false;
    bool ended_ = false;  // closed() was called or will be
    bool silent_ = false; // close() was called: no callback any more
    bool at_end_of_input_ = false;
    loop::Source readable_;
    loop::Source writable_;
    std::deque<Chunk> output_;
    size_t unsent_ = 0; // bytes in output_
    std::string input_; // what the last read brought
};

} // namespace drover
