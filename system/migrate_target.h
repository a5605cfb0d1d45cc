// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/address.h"
#include "monitor/json.h"
#include "system/named_descriptors.h"
#include "util/result.h"

#include <string>

namespace drover {

/// Where a migration goes to or comes from, and so whose it is: Drover's own over tcp:, unix: and a
/// connected socket by fd:; QEMU's over all else that QEMU can (exec:, file:, a pipe or file by
/// fd:).
struct MigrateTarget {
    bool native = false;      ///< QEMU's
    MigrationAddress address; ///< if Drover's

    /// The arguments "uri" or "channels" of migrate and migrate-incoming.
    [[nodiscard]] static Result<MigrateTarget> parse(const Json& arguments,
                                                     const NamedDescriptors& descriptors);
};

/// The same address as a URI; not for exec: and file:, which are QEMU's business. `channels` is a
/// list of QEMU's MigrationChannel with the one channel "main".
[[nodiscard]] Result<std::string> uri_of_channels(const Json& channels);

} // namespace drover
