// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/log.h"

#include <atomic>
#include <mutex>
#include <unistd.h>

namespace drover::log {

namespace {

std::mutex g_mutex;
std::string g_program = "drover"; // guarded by g_mutex
std::string g_guest;              // guarded by g_mutex
std::atomic<bool> g_verbose{false};

void write_line(std::string_view level, std::string_view text)
{
    std::lock_guard lock(g_mutex);
    std::string line = g_program;
    if (!g_guest.empty())
        line += "[" + g_guest + "]";
    line += ": ";
    line += level;
    line += text;
    line += '\n';
    // One write a line, so that lines of several processes on one terminal do not mix.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
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
