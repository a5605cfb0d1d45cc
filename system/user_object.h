// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"

#include <functional>
#include <string>
#include <vector>

namespace drover {

/// What one of the user's objects in QEMU (-object, object-add) says of itself: the member "type",
/// and those of `properties` that it has. Of no such object, kind Invalid. `done` is called later,
/// on the loop thread; not at all if `qemu` is destroyed before.
void read_user_object(QmpClient& qemu, const std::string& id,
                      const std::vector<std::string>& properties,
                      std::function<void(Result<Json>)> done);

} // namespace drover
