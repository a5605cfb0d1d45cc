// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/scenario.h"

namespace drover::balancer {

Result<Scenario> read_scenario(const std::string& path)
{
    return fail(ErrorKind::Invalid, path + ": not yet");
}

} // namespace drover::balancer
