// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace drover::xen {

/// Whether a guest fits on Xen, in words for people.
struct XenFit {
    std::vector<std::string> impossible; ///< with one of these it cannot go there
    std::vector<std::string>
        changes; ///< what it loses or finds otherwise there; it can go all the same

    void change(const std::string& text)
    {
        if (std::ranges::find(changes, text) == changes.end())
            changes.push_back(text);
    }
    void refuse(const std::string& text)
    {
        if (std::ranges::find(impossible, text) == impossible.end())
            impossible.push_back(text);
    }
};

} // namespace drover::xen
