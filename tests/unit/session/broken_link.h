// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration_rig.h"

namespace drover::testing {

inline RigOptions relayed()
{
    return {.relay = true};
}

/// Lets the verdict fall on the first such frame, and lets all else pass.
inline void judge_first(MigrationRig& rig, stream::FrameType type, Relay::Verdict verdict)
{
    rig.relay->judge = [&rig, type, verdict,
                        fallen = false](const Relay::Passing& passing) mutable {
        if (fallen || passing.type != type)
            return Relay::Verdict::Pass;
        fallen = true;
        return verdict;
    };
}

} // namespace drover::testing
