// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <string>

namespace drover {

/// What GnuTLS's code means, in its words.
[[nodiscard]] std::string tls_words(int code);

/// `what` failed, as an Error of kind Connection.
[[nodiscard]] std::unexpected<Error> tls_failed(const std::string& what, int code);

/// A file of the user's does not do, as an Error of kind Invalid that names it.
[[nodiscard]] std::unexpected<Error> tls_file_failed(const std::string& file, int code);

} // namespace drover
