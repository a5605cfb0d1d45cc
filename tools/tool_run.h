// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/endpoint_socket.h"
#include "monitor/qmp_client.h"
#include "util/loop.h"

#include <memory>
#include <optional>
#include <span>
#include <string>

namespace drover::tools {

/// What scripts look at.
enum ExitCode : int { exit_done = 0, exit_failed = 1, exit_usage = 2 };

/// "2.5" → 2,500 ms; an error names `option`.
[[nodiscard]] Result<std::chrono::milliseconds> parse_seconds(const std::string& option,
                                                              const std::string& text);

/// What it means that a monitor has not even greeted us when the time is up.
[[nodiscard]] Error monitor_is_silent();

/// The words after a verb, one by one.
class Words {
public:
    explicit Words(std::span<char*> words) : words_(words) {}
    [[nodiscard]] bool empty() const { return words_.empty(); }
    [[nodiscard]] bool next_is_option() const;
    std::string take();
    /// The word after an option, or an error that names it.
    [[nodiscard]] Result<std::string> take_value(const std::string& option);

private:
    std::span<char*> words_;
};

/// The main loop of a verb that talks to one monitor, and the verb's end.
class ToolRun {
public:
    ToolRun();
    ~ToolRun();
    ToolRun(const ToolRun&) = delete;
    ToolRun& operator=(const ToolRun&) = delete;

    using EventCallback = std::function<void(const Json& event)>;

    /// Begins to connect and to negotiate with a monitor (see the help for how it is written);
    /// that this fails ends the run. `event` gets the events, `ready` is called once commands can
    /// be sent.
    [[nodiscard]] Status start(const std::string& where, EventCallback event,
                               std::function<void()> ready);
    /// Runs until end() or fail().
    int run();

    void end(int code);
    void fail(const Error& why); ///< prints it; the exit code is 1

    [[nodiscard]] bool ready() const { return ready_; }
    [[nodiscard]] QmpClient& client() { return *client_; }

private:
    void negotiate(UniqueFd fd, EventCallback event, std::function<void()> ready);

    GMainLoop* loop_;
    std::unique_ptr<EndpointConnecting> connecting_;
    std::unique_ptr<QmpClient> client_;
    bool ready_ = false;      // negotiated
    std::optional<int> code_; // set once: the first end counts
};

} // namespace drover::tools
