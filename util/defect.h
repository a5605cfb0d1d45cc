// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <exception>
#include <functional>
#include <source_location>
#include <stdexcept>

namespace drover {

/// A mistake in Drover itself, found while it runs: what cannot be, and is.
class Defect : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// States what must hold at this line; throws a Defect that names it where it does not. Any thread.
void require(bool holds, const char* what,
             std::source_location where = std::source_location::current());

/// A defect must not kill a guest: Drover's end is its QEMU's end. So whatever calls into Drover's
/// code from outside (the main loop, a thread, a monitor's command) does so through contain() or
/// guarded(): a defect, and any other exception, ends there, is logged and counted, and the
/// migration under way is given up. In a test it is fatal, as it is in every program that did not
/// call survive().
namespace defects {

/// From now on defects are survived. `found` is called for each on the loop thread, later, never
/// from within what failed. The environment's DROVER_DEFECTS=fatal goes before it. Main thread.
void survive(std::function<void(const Error&)> found);

/// As at first: for tests, after one that called survive(). Main thread.
void die();

/// So many were found so far. Any thread.
[[nodiscard]] uint64_t count();

/// Counts one, logs it (after the first twenty fewer and fewer), and tells it; for guarded() and
/// contain(). Any thread.
[[nodiscard]] Error report(const char* what) noexcept;

/// Runs `work`, which returns a Status; a defect is one more way to fail. Any thread.
template <typename F> [[nodiscard]] Status guarded(F&& work) noexcept
{
    try {
        return work();
    } catch (const std::exception& defect) {
        return std::unexpected(report(defect.what()));
    } catch (...) {
        return std::unexpected(report("an exception of an unknown kind"));
    }
}

/// Runs `work`; false if a defect ended it. Any thread.
template <typename F> bool contain(F&& work) noexcept
{
    return guarded([&]() -> Status {
               work();
               return {};
           })
        .has_value();
}

} // namespace defects

} // namespace drover
