// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/fd.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace drover {

/// {"execute": NAME, "arguments": ARGUMENTS}, for forward().
[[nodiscard]] inline Json qmp_command(const char* name, Json arguments = Json::object())
{
    return Json{{"execute", name}, {"arguments", std::move(arguments)}};
}

/// A client of one QMP server (QEMU's, or another Drover's), over a connected stream socket.
/// QEMU "docs/interop/qmp-spec". Loop thread only. Callbacks may destroy the client.
class QmpClient {
public:
    /// What QEMU answered with "return"; an error has kind Machine and QMP's "desc" as its message.
    using Reply = std::function<void(Result<Json>)>;
    /// A whole response object as QEMU sent it ("return" or "error"), without its "id".
    /// If the connection dies first: an "error" of class GenericError that says so.
    using RawReply = std::function<void(Json)>;

    struct Callbacks {
        std::function<void(const Json& event)> event; ///< the whole event object
        std::function<void(Error)>
            closed; ///< once: the connection ended; pending replies were failed
    };

    /// `fd` is a connected UNIX (descriptors can be passed) or TCP socket.
    QmpClient(UniqueFd fd, Callbacks callbacks);
    ~QmpClient();
    QmpClient(const QmpClient&) = delete;
    QmpClient& operator=(const QmpClient&) = delete;

    /// Replies never come before the call that asks for them has returned. Destroying the client
    /// drops the pending ones: they are not called any more.

    /// Waits for the greeting and negotiates (enabling "oob" where offered and asked for);
    /// `ready` gets the greeting's "QMP" object ({"version":…, "capabilities":[…]}).
    void negotiate(bool enable_oob, Reply ready);

    /// Sends a command. `fds` travel with it by SCM_RIGHTS and are closed here afterwards.
    void execute(const std::string& command, Json arguments, Reply reply,
                 std::vector<UniqueFd> fds = {});

    /// Passes another client's request on unchanged but for its "id" ({"execute"|"exec-oob":…}).
    void forward(Json request, RawReply reply, std::vector<UniqueFd> fds = {});

    /// As if the connection had broken for this reason: what is pending fails, `closed` is called.
    void give_up(Error why);

private:
    class Impl;
    std::shared_ptr<Impl> impl_; // its callbacks may outlive us by a moment
};

} // namespace drover
