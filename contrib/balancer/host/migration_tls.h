// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/droverd_config.h"
#include "contrib/balancer/host/move_commands.h"

#include <string>
#include <vector>

namespace drover::balancer {

/// The fleet's certificates for its migrations, too: on where droverd has some, unless the
/// configuration says otherwise. Emulators get them by QEMU's own commands, so that both kinds do
/// it alike.
class MigrationTls {
public:
    /// Lays the files out as QEMU's TLS objects want them, by links in STATE/tls: what is renewed
    /// counts for the next migration.
    explicit MigrationTls(const DroverdConfig& config);

    [[nodiscard]] bool is_on() const { return !directory_.empty(); }
    /// What our certificate says that we are called: what a source has to look for.
    [[nodiscard]] const std::string& own_name() const { return own_name_; }

    /// Before `migrate`, to a destination whose certificate has to name `hostname`.
    [[nodiscard]] std::vector<EmulatorCommand> at_source(const std::string& hostname) const;
    /// Before `migrate-incoming`. Whoever has a certificate of the fleet may come, but for people
    /// who may only look: to give a host a guest is more than that.
    [[nodiscard]] std::vector<EmulatorCommand> at_destination() const;

private:
    [[nodiscard]] std::vector<EmulatorCommand> credentials(const char* endpoint) const;

    std::string directory_; ///< empty: off
    std::string own_name_;
};

} // namespace drover::balancer
