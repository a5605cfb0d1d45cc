// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

namespace drover {

/// errno of a read or write on a connection, as an Error of kind Connection.
[[nodiscard]] Error connection_error(int errno_value);

/// The peer ended the stream.
[[nodiscard]] Error connection_closed();

} // namespace drover
