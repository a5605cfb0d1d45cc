// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string_view>

namespace drover {

/// A place at which a test can hold the program and do something to it, its peer or their link: for
/// tests of exact interleavings, which no count of bytes and no clock can meet.
///
/// Where DROVER_SYNC_POINTS names a UNIX socket, each point is told to whoever listens there
/// ("PART NAME\n"), on the thread that came to it, which goes on when the connection is closed at
/// the other end. tests/e2e/drover_e2e/sync.py is that other end. Empty unless built with
/// -Dsync-points=true, which ./devtool does; a release has none.
#ifdef DROVER_SYNC_POINTS
void sync_point(std::string_view part, std::string_view name);
#else
inline void sync_point(std::string_view /*part*/, std::string_view /*name*/) {}
#endif

} // namespace drover
