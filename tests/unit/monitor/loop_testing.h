// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/fd.h"
#include "util/loop.h"

#include <chrono>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace drover::testing {

/// Runs the main loop until `done`, which is looked at after each turn; false after `limit`.
inline bool run_until(const std::function<bool()>& done,
                      std::chrono::milliseconds limit = std::chrono::seconds(20))
{
    bool expired = false;
    const auto timer = loop::after(limit, [&] { expired = true; });
    while (!done() && !expired)
        g_main_context_iteration(nullptr, TRUE);
    return done();
}

/// Lets everything happen that is due now.
inline void run_pending()
{
    while (g_main_context_iteration(nullptr, FALSE)) {
    }
}

/// A QMP client that knows nothing of ours: lines in, bytes out.
class LineClient {
public:
    explicit LineClient(UniqueFd fd) : fd_(std::move(fd)) { listen(true); }

    void listen(bool on)
    {
        source_.reset();
        if (on)
            source_ = loop::watch(fd_.get(), G_IO_IN, [this](GIOCondition) { read(); });
    }

    void send(const std::string& text) const
    {
        ASSERT_EQ(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }

    void send_with_fd(const std::string& text, int fd) const
    {
        iovec piece = {const_cast<char*>(text.data()), text.size()};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
        msghdr message = {};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
        ASSERT_EQ(sendmsg(fd_.get(), &message, 0), static_cast<ssize_t>(text.size()));
    }

    /// The next message; null after a while or at the end.
    Json next()
    {
        if (!run_until([this] { return !lines_.empty() || closed_; }) || lines_.empty())
            return nullptr;
        Json message = Json::parse(lines_.front(), nullptr, false);
        lines_.erase(lines_.begin());
        return message;
    }

    Json ask(const std::string& text)
    {
        send(text);
        return next();
    }

    /// Greeting and qmp_capabilities.
    void negotiate(bool oob = false)
    {
        EXPECT_TRUE(next().contains("QMP"));
        const Json answer =
            ask(oob ? R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"
                    : R"({"execute":"qmp_capabilities"})");
        EXPECT_EQ(answer, Json::parse(R"({"return":{}})"));
    }

    bool wait_closed()
    {
        return run_until([this] { return closed_; });
    }
    [[nodiscard]] bool has_line() const { return !lines_.empty(); }
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    void read()
    {
        char buffer[65536];
        const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n <= 0) {
            closed_ = true;
            return source_.reset();
        }
        text_.append(buffer, static_cast<size_t>(n));
        for (size_t end = 0; (end = text_.find('\n')) != text_.npos; text_.erase(0, end + 1))
            lines_.push_back(text_.substr(0, end));
    }

    UniqueFd fd_;
    loop::Source source_;
    std::string text_;
    std::vector<std::string> lines_;
    bool closed_ = false;
};

} // namespace drover::testing
