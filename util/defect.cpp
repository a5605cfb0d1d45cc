// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/defect.h"

#include "util/log.h"
#include "util/loop.h"

#include <atomic>
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
    ++g_found_defects;
    Error error{ErrorKind::System, "a defect in Drover: " + std::string(what),
                "the guest is left where it is; please report this"};
    log::error(error.text());
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
