// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/fd.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace drover {

/// One QMP monitor as the user asked for it on the command line. A monitor serves one client at a
/// time, as QEMU's character devices do; the next is accepted when the former has gone.
struct MonitorEndpoint {
    enum class Kind {
        UnixListen,  ///< path
        UnixConnect, ///< path, reconnect
        TcpListen,   ///< host, port
        TcpConnect,  ///< host, port, reconnect
        ListenFd,    ///< fd: a listening socket inherited from our parent (libvirt does this)
        ConnectedFd, ///< fd: a connected socket inherited from our parent
        Stdio,       ///< our standard input and output
    };
    Kind kind = Kind::UnixListen;
    std::string path;
    std::string host;
    std::string port;
    int fd = -1;              ///< taken over by the server
    unsigned reconnect_s = 0; ///< 0: do not; for the …Connect kinds
    bool wait = false;        ///< the machine is to wait for the first client (server, wait=on)
    bool pretty = false;
    bool abstract = false; ///< path is a name in the abstract namespace, no file
    bool padded = false;   ///< …filled up with zeros to an address's full length (tight=off)
    bool telnet = false;   ///< the client is a Telnet
    std::string log_file;  ///< gets what is sent to clients; empty: none
    bool append_to_log = false;
};

/// A command of one client. The server answers qmp_capabilities and malformed input itself.
struct QmpRequest {
    std::string command;
    Json arguments; ///< always an object
    bool out_of_band = false;
    std::vector<UniqueFd> fds; ///< received with the command by SCM_RIGHTS
    uint64_t client = 0;       ///< unique for each connection
};

/// What is sent back; the server adds "id".
struct QmpResponse {
    Json body; ///< {"return": …} or {"error": {"class":…, "desc":…}}

    [[nodiscard]] static QmpResponse ok(Json value = Json::object());
    [[nodiscard]] static QmpResponse error(std::string desc,
                                           std::string error_class = "GenericError");
    [[nodiscard]] static QmpResponse error(const Error& error); ///< GenericError, error.text()
};

/// Called exactly once for each request, on the loop thread, now or later; if the client has gone
/// meanwhile the answer is dropped.
using QmpResponder = std::function<void(QmpResponse)>;

/// The answer to a command that returns nothing.
void answer(const QmpResponder& respond, const Status& status);

class QmpHandler {
public:
    virtual ~QmpHandler() = default;
    virtual void handle(QmpRequest request, QmpResponder respond) = 0;
    virtual void client_gone(uint64_t /*client*/) {}
};

struct OpenMonitor; // monitor_listener.h

/// Serves QMP on any number of monitors. Commands of one client are handled one after the other, in
/// order; out-of-band ones at once. A client that sends more than 64 MiB without a complete
/// command, or does not read its answers, is dropped; nobody else notices. Loop thread only.
class QmpServer {
public:
    /// `greeting` is the "QMP" object that clients are greeted with; only "oob" is known as a
    /// capability. `handler` must outlive the server.
    QmpServer(Json greeting, QmpHandler& handler);
    ~QmpServer();
    QmpServer(const QmpServer&) = delete;
    QmpServer& operator=(const QmpServer&) = delete;

    /// Serves its clients from now on. A listening UNIX path is unlinked at the end.
    void add_monitor(OpenMonitor monitor);

    /// Sends an event to each client that has finished its negotiation.
    void broadcast(const Json& event);

    /// `call` is made once, as soon as each monitor with wait=on has had a client connected.
    void when_awaited_clients_came(std::function<void()> call);

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

/// {"event": NAME, "data": DATA, "timestamp": now}, as QEMU shapes it.
[[nodiscard]] Json make_event(std::string name, Json data);

} // namespace drover
