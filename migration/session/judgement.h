// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/compatibility.h"

#include <functional>
#include <string>

namespace drover {

/// What a destination says of a guest that would come, before a page is sent.
struct Judgement : Findings {
    StateForm form = StateForm::Own; ///< in which its devices travel
    /// Nothing but its UUID speaks against it: the destination waits for another guest.
    bool is_another_guest = false;

    [[nodiscard]] Status status() const
    {
        return blocks.empty() ? Status() : std::unexpected(blocks.front());
    }
    /// What another has found besides.
    void add(Judgement other);
    [[nodiscard]] Json to_json() const;
    /// Of a peer's, which is not trusted: bounded, or an error.
    [[nodiscard]] static Result<Judgement> from_json(const Json& value);
};

/// `own`: what `destination` says of itself. Pure.
[[nodiscard]] Judgement judge_guest(const stream::Hello& hello, const Json& own,
                                    const Machine& destination);

/// The one judgement: of the hello that a migration begins with, of a forecast's, and so of
/// `drover check-migration`. `done` is called later, with what the destination says of itself too
/// (null where it cannot), unless the machine has ended by then.
void judge_arrival(Machine& destination, const stream::Hello& hello,
                   std::function<void(const Judgement&, Json own)> done);

struct GreetingOptions {
    std::string software; ///< as Hello's
    uint32_t channels = 1;
    bool one_connection = false; ///< nobody can call again after a break
    double reconnect_s = 0;      ///< how long a copy may wait for another link; 0: it does not
    bool verify = false;         ///< compare a digest of RAM
    bool validate_uuid = false;
    double downtime_s = 0; ///< that is wished for
};

/// What `source` says to a destination of its guest. `done` is not called from within.
void make_hello(Machine& source, const GreetingOptions& options,
                std::function<void(Result<stream::Hello>)> done);

} // namespace drover
