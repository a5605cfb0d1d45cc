// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/tool_run.h"

#include "util/log.h"

#include <charconv>

namespace drover::tools {

namespace {

bool is_port(std::string_view text)
{
    return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

/// A UNIX path, HOST:PORT ("[::1]:4444"), unix:PATH or tcp:HOST:PORT.
Result<MonitorEndpoint> parse_where(std::string_view where)
{
    constexpr std::string_view unix_prefix = "unix:";
    constexpr std::string_view tcp_prefix = "tcp:";
    MonitorEndpoint endpoint{.kind = MonitorEndpoint::Kind::UnixConnect};
    if (where.starts_with(unix_prefix)) {
        endpoint.path = where.substr(unix_prefix.size());
        return endpoint;
    }
    const bool named_tcp = where.starts_with(tcp_prefix);
    if (named_tcp)
        where.remove_prefix(tcp_prefix.size());
    const size_t colon = where.rfind(':');
    const bool has_port = colon != where.npos && is_port(where.substr(colon + 1));
    if (named_tcp && !has_port)
        return fail(ErrorKind::Invalid, "tcp:" + std::string(where) + " has no port",
                    "write tcp:HOST:PORT");
    if (!named_tcp && (!has_port || where.contains('/'))) {
        endpoint.path = where;
        return endpoint;
    }
    std::string_view host = where.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']'))
        host = host.substr(1, host.size() - 2);
    endpoint.kind = MonitorEndpoint::Kind::TcpConnect;
    endpoint.host = host;
    endpoint.port = where.substr(colon + 1);
    return endpoint;
}

} // namespace

Result<std::chrono::milliseconds> parse_seconds(const std::string& option, const std::string& text)
{
    double seconds = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, seconds);
    if (error != std::errc{} || rest != end || !(seconds > 0) || seconds > 1e6)
        return fail(ErrorKind::Invalid, option + ": '" + text + "' is not a number of seconds",
                    "write for example 30 or 2.5");
    return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3) + 1);
}

Error monitor_is_silent()
{
    return {ErrorKind::Refused, "the monitor does not answer in time",
            "it serves one client at a time: another may be connected"};
}

bool Words::next_is_option() const
{
    return !words_.empty() && std::string_view(words_[0]).starts_with("--");
}

std::string Words::take()
{
    std::string word = words_[0];
    words_ = words_.subspan(1);
    return word;
}

Result<std::string> Words::take_value(const std::string& option)
{
    if (words_.empty())
        return fail(ErrorKind::Invalid, option + " needs a value");
    return take();
}

ToolRun::ToolRun() : loop_(g_main_loop_new(nullptr, FALSE)) {}

ToolRun::~ToolRun()
{
    g_main_loop_unref(loop_);
}

Status ToolRun::start(const std::string& where, EventCallback event, std::function<void()> ready)
{
    auto endpoint = parse_where(where);
    if (!endpoint)
        return pass(endpoint);
    connecting_ = std::make_unique<EndpointConnecting>(
        *endpoint, [this, event = std::move(event), ready = std::move(ready)](Result<UniqueFd> fd) {
            if (fd)
                negotiate(std::move(*fd), event, ready);
            else
                fail(fd.error());
        });
    return {};
}

void ToolRun::negotiate(UniqueFd fd, EventCallback event, std::function<void()> ready)
{
    client_ = std::make_unique<QmpClient>(
        std::move(fd),
        QmpClient::Callbacks{std::move(event), [this](const Error& why) { fail(why); }});
    client_->negotiate(false, [this, ready = std::move(ready)](const Result<Json>& greeting) {
        if (!greeting)
            return fail(greeting.error());
        ready_ = true;
        ready();
    });
}

int ToolRun::run()
{
    if (!code_)
        g_main_loop_run(loop_);
    return code_.value_or(exit_failed);
}

void ToolRun::end(int code)
{
    if (!code_)
        code_ = code;
    g_main_loop_quit(loop_);
}

void ToolRun::fail(const Error& why)
{
    if (!code_)
        log::error(why.text());
    end(exit_failed);
}

} // namespace drover::tools
