// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/policy.h"
#include "monitor/json.h"
#include "util/result.h"

#include <map>
#include <string>

namespace drover {

/// QEMU's migration capabilities and parameters as the user has set them. Those that QEMU has and
/// Drover has no use for (XBZRLE, auto-converge, …) are kept and shown, so that programs that set
/// them go on working; see docs/qmp.md.
class MigrateSettings {
public:
    explicit MigrateSettings(MigrationWish wish) : wish_(std::move(wish)) {}

    /// What query-migrate-capabilities and query-migrate-parameters of this QEMU return.
    void learn_capabilities(const Json& qemu_list);
    void learn_parameters(const Json& qemu_parameters);

    [[nodiscard]] Status set_capabilities(const Json& arguments);
    [[nodiscard]] Status set_parameters(const Json& arguments);
    /// migrate-set-policy: the options of -migrate-policy as members; on-stall as a list.
    [[nodiscard]] Status set_policy(const Json& arguments);
    [[nodiscard]] Json policy() const;       ///< as query-migrate-policy
    [[nodiscard]] Json capabilities() const; ///< as query-migrate-capabilities
    [[nodiscard]] Json parameters() const;   ///< as query-migrate-parameters

    [[nodiscard]] bool capability(const std::string& name) const;
    /// The lower of max-bandwidth and the policy's, bytes/s; 0: unlimited.
    [[nodiscard]] uint64_t max_bandwidth() const;
    /// multifd-channels, 1 … 64; each is a thread, so no more than the policy's cores.
    [[nodiscard]] unsigned channels() const;
    /// What the policy and QEMU's parameters and capabilities say together.
    [[nodiscard]] MigrationWish wish() const;

private:
    std::map<std::string, bool> capabilities_;
    Json parameters_ = Json::object();
    MigrationWish wish_;
    bool downtime_by_qmp_ = false; ///< downtime-limit was set: a bound, as in QEMU
};

} // namespace drover
