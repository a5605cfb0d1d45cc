// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_request.h"
#include "monitor/qmp_splitter.h"
#include "monitor/telnet.h"
#include "monitor/wire.h"

#include <deque>
#include <functional>
#include <memory>

namespace drover {

/// One connection of a QMP client to our server: greeting, negotiation, commands in order, answers
/// in order, too, unless it is configured otherwise.
/// Loop thread only.
class QmpSession : public std::enable_shared_from_this<QmpSession> {
public:
    struct Config {
        uint64_t id = 0;
        Json greeting; ///< the "QMP" object
        bool pretty = false;
        bool telnet = false;
        int log_fd = -1; ///< gets what is sent, too; stays the caller's
        /// Commands with an id are answered as soon as they are done: none waits for one before it
        /// that takes long. They are still begun in the order in which they come.
        bool overtaking = false;
    };

    /// More commands than this that wait for their turn stop the reading of more.
    static constexpr size_t max_queued = 8;
    /// So many commands that may be overtaken are under way at a time.
    static constexpr size_t max_overtaken = 64;

    /// `gone` is called once, from the loop, when the client has gone; not after close().
    [[nodiscard]] static std::shared_ptr<QmpSession> start(UniqueFd in, UniqueFd out, Config config,
                                                           QmpHandler& handler,
                                                           std::function<void()> gone);
    ~QmpSession();

    /// Events are only for clients that have negotiated.
    void send_event(const Json& event);

    /// Ends it without a word. The handler is not called any more.
    void close();

private:
    struct FdBatch {
        uint64_t end = 0; // offset in the stream behind the bytes they came with
        std::vector<UniqueFd> fds;
    };

    QmpSession(Config config, QmpHandler& handler, std::function<void()> gone);
    void receive(std::string_view bytes, std::vector<UniqueFd> fds);
    class Unanswered;
    enum class Turn { Own, Overtaken, OutOfBand };

    void pump();
    bool read_one();
    void accept(ParsedRequest parsed);
    void dispatch(ParsedRequest parsed);
    void handle(ParsedRequest parsed, Turn turn);
    QmpResponse negotiate(const Json& arguments);
    void answer(const std::optional<Json>& id, QmpResponse response);
    void answer_command(const std::optional<Json>& id, QmpResponse response, Turn turn);
    void send(const Json& message);
    std::vector<UniqueFd> take_fds(uint64_t end);
    QmpResponder make_responder(std::optional<Json> id, Turn turn);
    void leave(const Error& why);

    Config config_;
    TelnetFilter telnet_;
    QmpHandler& handler_;
    std::function<void()> gone_;
    std::shared_ptr<Wire> wire_;
    QmpSplitter splitter_;
    uint64_t received_ = 0; // bytes
    std::deque<FdBatch> fds_;
    std::deque<ParsedRequest> queue_;
    bool negotiated_ = false;
    bool oob_ = false;
    bool busy_ = false;    // the handler has an in-band command that is not to be overtaken
    size_t overtaken_ = 0; // it has so many others
    bool pumping_ = false; // pump() is on the stack
    bool closed_ = false;
};

} // namespace drover
