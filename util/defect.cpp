// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/defect.h"

#include "util/log.h"
#include "util/loop.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace drover {

void require(bool holds, const char* what, std::source_location where)
{
    if (holds)
        return;
    const std::string_view file = where.file_name();
    throw Defect(std::string(what) + " does not hold (" +
                 std::string(file.substr(file.rfind('/') + 1)) + ":" +
                 std::to_string(where.line()) + ")");
}

namespace defects {

namespace {

std::atomic<uint64_t> g_found_defects{0};
std::atomic<bool> g_defects_are_fatal{true};
/// Set by survive() and die() only. Who is told of a defect is whoever was there when it was found.
std::shared_ptr<std::function<void(const Error&)>> g_tell_defect;

/// What is watched may meet the same defect each time that it is looked at, and fill a disk.
bool is_logged(uint64_t number)
{
    constexpr uint64_t first_ones = 20;
    return number <= first_ones || std::has_single_bit(number);
}

bool is_fatal_by_wish()
{
    const char* wish = getenv("DROVER_DEFECTS");
    return wish && std::string_view(wish) == "fatal";
}

} // namespace

void survive(std::function<void(const Error&)> found)
{
    g_tell_defect = std::make_shared<std::function<void(const Error&)>>(std::move(found));
    g_defects_are_fatal = is_fatal_by_wish();
}

void die()
{
    g_tell_defect = nullptr;
    g_defects_are_fatal = true;
}

uint64_t count()
{
    return g_found_defects;
}

Error report(const char* what) noexcept
{
    const uint64_t number = ++g_found_defects;
    Error error{ErrorKind::System, "a defect in Drover: " + std::string(what),
                "the guest is left where it is; please report this"};
    if (is_logged(number))
        log::error(error.text() + " (number " + std::to_string(number) + ")");
    if (g_defects_are_fatal)
        std::abort();
    loop::post([error, listener = std::weak_ptr(g_tell_defect)] {
        if (const auto tell = listener.lock(); tell && *tell)
            (*tell)(error);
    });
    return error;
}

} // namespace defects

} // namespace drover
