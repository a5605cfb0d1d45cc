// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/result.h"

#include <cstring>

namespace drover {

std::string_view to_string(ErrorKind kind)
{
    switch (kind) {
    case ErrorKind::Invalid: return "invalid";
    case ErrorKind::Incompatible: return "incompatible";
    case ErrorKind::Protocol: return "protocol";
    case ErrorKind::Connection: return "connection";
    case ErrorKind::Refused: return "refused";
    case ErrorKind::Cancelled: return "cancelled";
    case ErrorKind::Machine: return "machine";
    case ErrorKind::System: return "system";
    }
    return "unknown";
}

std::string Error::text() const
{
    return hint.empty() ? message : message + " (" + hint + ")";
}

Error Error::in(std::string_view context) &&
{
    return Error{kind, std::string(context) + ": " + message, std::move(hint)};
}

std::unexpected<Error> fail(ErrorKind kind, std::string message, std::string hint)
{
    return std::unexpected(Error{kind, std::move(message), std::move(hint)});
}

std::unexpected<Error> fail_errno(std::string what, int errno_value)
{
    char buffer[256];
    const char* reason = strerror_r(errno_value, buffer, sizeof buffer); // the GNU variant
    return fail(ErrorKind::System, std::move(what) + ": " + reason);
}

} // namespace drover
