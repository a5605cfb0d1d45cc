// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/gio.h"
#include "util/fd.h"

#include <string>

namespace drover::balancer {

/// Makes a plain socket out of a TLS connection: returns one end of a socket pair, whose other end
/// is pumped to and from the connection on the loop thread until both directions have ended.
/// Back-pressure goes through both ways (a pump holds at most 64 KiB). The end of one direction is
/// passed on, and the other goes on; an error ends both. Closing the socket ends the connection,
/// after what was written before was sent, for at most 5 seconds.
///
/// `received` was read from the connection already and comes out of the socket first; at most
/// 32 KiB.
[[nodiscard]] Result<UniqueFd> pump_tls(Ref<GTlsConnection> connection, std::string received = {});

} // namespace drover::balancer
