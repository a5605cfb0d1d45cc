// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/model_monitor.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

namespace drover::xen {

Result<UniqueFd> connect_to_model(const std::string& domain)
{
    const std::string path = "/var/run/xen/qmp-libxenstat-" + domain;
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (!socket ||
        connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return fail_errno("connecting to the device model at " + path, errno);
    return socket;
}

} // namespace drover::xen
