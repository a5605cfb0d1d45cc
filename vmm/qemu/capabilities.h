// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"

#include <initializer_list>

/// Arguments of QEMU's commands that both halves of the adapter use.
namespace drover::qemu {

/// migrate-set-capabilities' arguments.
[[nodiscard]] inline Json capabilities(std::initializer_list<const char*> names, bool on)
{
    Json list = Json::array();
    for (const char* name : names)
        list.push_back(Json{{"capability", name}, {"state", on}});
    return Json{{"capabilities", std::move(list)}};
}

/// announce-self's arguments: QEMU's own defaults.
[[nodiscard]] inline Json announce_parameters()
{
    return Json{{"initial", 50}, {"max", 550}, {"rounds", 5}, {"step", 100}};
}

} // namespace drover::qemu
