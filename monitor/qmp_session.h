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

/// One connection of a QMP client to our server: greeting, negotiation, commands in order, answers.
/// Loop thread only.
class QmpSession : public std::enable_shared_from_this<QmpSession> {
public:
    struct Config {
        uint64_t id = 0;
        Json greeting; ///< the "QMP" object
        bool pretty = false;
        bool telnet = false;
        int log_fd = -1; ///< gets what is sent, too; stays the caller's
    };

    /// More commands than this that wait for their turn stop the reading of more.
    static constexpr size_t max_queued = 8;

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

    void pump();
    bool read_one();
    void accept(ParsedRequest parsed);
    void dispatch(ParsedRequest parsed);
    void handle(ParsedRequest parsed, bool out_of_band);
    QmpResponse negotiate(const Json& arguments);
    void answer(const std::optional<Json>& id, QmpResponse response);
    void answer_command(const std::optional<Json>& id, QmpResponse response, bool out_of_band);
    void send(const Json& message);
    std::vector<UniqueFd> take_fds(uint64_t end);
    QmpResponder make_responder(std::optional<Json> id, bool out_of_band);
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
    bool busy_ = false;    // the handler has an in-band command
    bool pumping_ = false; // pump() is on the stack
    bool closed_ = false;
};

} // namespace drover
