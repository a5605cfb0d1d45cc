// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <functional>
#include <string>
#include <vector>

namespace drover {

/// What is to be asked of an authz object of QEMU's.
[[nodiscard]] const std::vector<std::string>& authz_properties();

/// Whether a peer of a distinguished name may come in, as an object authz-simple, authz-list or
/// authz-list-file of QEMU's says (its system manual, "Client authorization"), of which `object`
/// has the members. Others are refused (kind Invalid).
[[nodiscard]] Result<std::function<Status(const std::string& name)>>
make_authorization(const Json& object);

} // namespace drover
