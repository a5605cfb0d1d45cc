// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace drover::xen {

constexpr std::string_view incoming_suffix = "--incoming";

/// As xl names the domain of a guest that has not come yet (tools/xl/xl_migrate.c).
[[nodiscard]] inline std::string incoming_name(const std::string& guest)
{
    return guest + std::string(incoming_suffix);
}
[[nodiscard]] inline bool is_incoming_name(std::string_view domain)
{
    return domain.ends_with(incoming_suffix);
}

} // namespace drover::xen
