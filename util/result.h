// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace drover {

/// What sort of thing went wrong. Few kinds on purpose: the text carries the detail, the kind
/// decides what the caller does next.
enum class ErrorKind {
    Invalid,      ///< the user's input (command line, QMP argument, policy) is wrong
    Incompatible, ///< both sides work, but not with each other
    Protocol,     ///< the peer sent something that the format does not allow
    Connection,   ///< the link or the peer went away
    Refused,      ///< the peer, or the present state, says no
    Cancelled,    ///< somebody asked for it to stop
    Machine,      ///< the hypervisor failed or died
    System,       ///< the operating system refused (errno)
};

[[nodiscard]] std::string_view to_string(ErrorKind kind);

/// An error as the user will read it: what happened, to what, and what can be done.
struct Error {
    ErrorKind kind = ErrorKind::System;
    std::string message; ///< one sentence, no newline, no full stop at the end
    std::string hint;    ///< what the user can do; may be empty

    /// "message (hint)".
    [[nodiscard]] std::string text() const;

    /// The same error with what was being done put before it: "CONTEXT: message".
    [[nodiscard]] Error in(std::string_view context) &&;
};

template <typename T> using Result = std::expected<T, Error>;
using Status = Result<void>;

/// std::unexpected<Error> made in one word, so that `return fail(...)` reads well.
[[nodiscard]] std::unexpected<Error> fail(ErrorKind kind, std::string message,
                                          std::string hint = {});

/// As fail(), for a system call: "WHAT: strerror(ERRNO_VALUE)". Kind is System.
[[nodiscard]] std::unexpected<Error> fail_errno(std::string what, int errno_value);

/// Passes an error on to a caller whose Result has another type.
template <typename T> [[nodiscard]] std::unexpected<Error> pass(Result<T>& failed)
{
    return std::unexpected(std::move(failed.error()));
}

} // namespace drover
