// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string_view>

namespace drover::qemu {

enum class OptionArity {
    None,    ///< takes no argument
    One,     ///< the next word is its argument, whatever it looks like
    Unknown, ///< of a QEMU newer than this table
};

/// `name` without its dashes.
[[nodiscard]] OptionArity option_arity(std::string_view name);

/// Whether "help" or "?" as a part of this option's argument makes QEMU print a list and exit.
[[nodiscard]] bool option_has_help(std::string_view name);

} // namespace drover::qemu
