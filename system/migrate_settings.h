// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/policy.h"
#include "migration/session/encoding_model.h"
#include "monitor/json.h"
#include "system/tls_objects.h"
#include "util/result.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace drover {

/// QEMU's migration capabilities and parameters as the user has set them. Those that QEMU has and
/// Drover has no use for are kept and shown, so that programs that set them go on working; see
/// docs/qmp.md.
///
/// Whether what is set makes sense is for QEMU to say, which knows its types, ranges and words: see
/// capability_trial() and check_parameters().
class MigrateSettings {
public:
    explicit MigrateSettings(MigrationWish wish) : wish_(std::move(wish)) {}

    /// What query-migrate-capabilities and query-migrate-parameters of this QEMU return.
    void learn_capabilities(const Json& qemu_list);
    void learn_parameters(const Json& qemu_parameters);

    /// Arguments of QEMU's migrate-set-capabilities that show whether it would take the user's, and
    /// those that undo them: the engine's own use of QEMU's migration needs QEMU's defaults.
    struct Trial {
        Json set;
        Json undo;
    };
    [[nodiscard]] Trial capability_trial(const Json& arguments) const;
    void set_capabilities(const Json& arguments); ///< that passed the trial
    /// Whether Drover's own migration has all that are on.
    [[nodiscard]] Status check_capabilities() const;

    /// Refuses what Drover cannot keep; returns what QEMU is to be given, for it to check and use.
    [[nodiscard]] Result<Json> check_parameters(const Json& arguments) const;
    void set_parameters(const Json& arguments); ///< that QEMU has taken

    /// For QEMU's own migration: the user's settings, as arguments of QEMU's commands; and QEMU's
    /// defaults again, for the engine.
    [[nodiscard]] Json native_capabilities() const;
    [[nodiscard]] Json native_parameters() const;
    [[nodiscard]] Json engine_capabilities() const;
    /// What the engine, which uses QEMU's migration between two ends of its own, cannot have there:
    /// arguments of migrate-set-parameters; empty if the user has set no such thing.
    [[nodiscard]] Json engine_parameters() const;

    /// migrate-set-policy: the options of -migrate-policy as members; on-stall as a list.
    [[nodiscard]] Status set_policy(const Json& arguments);
    [[nodiscard]] Json policy() const;       ///< as query-migrate-policy
    [[nodiscard]] Json capabilities() const; ///< as query-migrate-capabilities
    [[nodiscard]] Json parameters() const;   ///< as query-migrate-parameters

    [[nodiscard]] bool capability(const std::string& name) const;
    /// The lower of max-bandwidth and the policy's, bytes/s; 0: unlimited.
    [[nodiscard]] uint64_t max_bandwidth() const;
    /// The same in post-copy, for what nobody waits for.
    [[nodiscard]] uint64_t max_postcopy_bandwidth() const;
    /// multifd-channels, but 64 at most; each is a thread, so no more than the policy's cores.
    [[nodiscard]] unsigned channels() const;
    /// What may be used to send fewer bytes: what multifd-compression, multifd-zstd-level,
    /// multifd-zlib-level and xbzrle-cache-size leave of all that Drover has, if they were set.
    [[nodiscard]] EncodingBounds encodings() const;
    [[nodiscard]] TlsParameters tls() const; ///< tls-creds, tls-hostname, tls-authz
    /// What the policy and QEMU's parameters and capabilities say together.
    [[nodiscard]] MigrationWish wish() const;

private:
    [[nodiscard]] std::optional<double> step_of(const char* parameter) const;
    [[nodiscard]] bool restores_encodings(const Json& arguments) const;

    struct Capability {
        std::string name;
        bool on = false;
        bool qemus_default = false;
    };
    std::vector<Capability> capabilities_;  ///< in QEMU's order
    Json qemu_parameters_ = Json::object(); ///< QEMU's defaults
    Json parameters_ = Json::object();
    std::set<std::string> given_; ///< parameters that somebody has set
    MigrationWish wish_;
    bool downtime_by_qmp_ = false; ///< downtime-limit was set: a bound, as in QEMU
};

} // namespace drover
