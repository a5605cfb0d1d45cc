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
    explicit MigrateSettings(MigrationWish wish) : wish_(wish) {}

    /// What query-migrate-capabilities and query-migrate-parameters of this QEMU return.
    void learn_capabilities(const Json& qemu_list);
    void learn_parameters(const Json& qemu_parameters);

    [[nodiscard]] Status set_capabilities(const Json& arguments);
    [[nodiscard]] Status set_parameters(const Json& arguments);
    [[nodiscard]] Json capabilities() const; ///< as query-migrate-capabilities
    [[nodiscard]] Json parameters() const;   ///< as query-migrate-parameters

    [[nodiscard]] bool capability(const std::string& name) const;
    [[nodiscard]] uint64_t max_bandwidth() const; ///< bytes/s; 0: unlimited
    [[nodiscard]] unsigned channels() const;      ///< multifd-channels, 1 … 64
    [[nodiscard]] const MigrationWish& wish() const { return wish_; }

private:
    std::map<std::string, bool> capabilities_;
    Json parameters_ = Json::object();
    MigrationWish wish_;
};

} // namespace drover
