// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "tools/saved_guest.h"

namespace drover::tools {

/// Each writes `path` and returns, in words, what will not be as it was for the guest.
using Changes = Result<std::vector<std::string>>;

/// For the QEMU of this command line.
[[nodiscard]] Changes convert_to_qemu(const SavedGuest& guest, const std::string& path,
                                      const std::vector<std::string>& command);

struct XenOptions {
    std::string name;
    Json config = Json::object(); ///< as of XenGuest::config
};
/// For `xl restore`.
[[nodiscard]] Changes convert_to_xen(const SavedGuest& guest, const std::string& path,
                                     const XenOptions& options);

} // namespace drover::tools
