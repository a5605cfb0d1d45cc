// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace drover::log {

/// Log lines go to stderr as "PROGRAM[: NAME]: text". An "error" means that something that the user
/// asked for failed; libraries return errors, only programs log them. Any thread.
void set_program(std::string_view program);
void set_guest_name(std::string_view name);
void set_verbose(bool on);

void error(std::string_view text);
void warning(std::string_view text);
void info(std::string_view text);
void debug(std::string_view text); ///< shown only after set_verbose(true)

} // namespace drover::log
