// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/log.h"

#include "util/write_fd.h"

#include <atomic>
#include <cerrno>
#include <mutex>
#include <unistd.h>

namespace drover::log {

namespace {

std::mutex g_mutex;
std::string g_program = "drover"; // guarded by g_mutex
std::string g_guest;              // guarded by g_mutex
unsigned g_lost = 0;              // guarded by g_mutex: lines that stderr did not take
std::atomic<bool> g_verbose{false};

/// One write a line where it fits, so that lines of several processes on one terminal do not mix.
/// Never waited for: a log that nobody reads (a stuck virtlogd, a stopped terminal) must not stop
/// the guest's monitors and its migration.
bool write_what_fits(std::string_view line)
{
    while (!line.empty()) {
        const ssize_t written = write_without_blocking(STDERR_FILENO, line.data(), line.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        line.remove_prefix(static_cast<size_t>(written));
    }
    return true;
}

void write_line(std::string_view level, std::string_view text)
{
    std::lock_guard lock(g_mutex);
    std::string line;
    if (g_lost > 0)
        line = "[" + std::to_string(g_lost) + " lines could not be written]\n";
    line += g_program;
    if (!g_guest.empty())
        line += "[" + g_guest + "]";
    line += ": ";
    line += level;
    line += text;
    line += '\n';
    g_lost = write_what_fits(line) ? 0 : g_lost + 1;
}

} // namespace

void set_program(std::string_view program)
{
    std::lock_guard lock(g_mutex);
    g_program = program;
}

void set_guest_name(std::string_view name)
{
    std::lock_guard lock(g_mutex);
    g_guest = name;
}

void set_verbose(bool on)
{
    g_verbose = on;
}

void error(std::string_view text)
{
    write_line("error: ", text);
}

void warning(std::string_view text)
{
    write_line("warning: ", text);
}

void info(std::string_view text)
{
    write_line("", text);
}

void debug(std::string_view text)
{
    if (g_verbose)
        write_line("debug: ", text);
}

} // namespace drover::log
