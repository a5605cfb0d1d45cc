// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// How droverd and drover-balancer are reached, and what one may do there
/// (docs/balancer-qmp.md "Doors and roles").
namespace drover::balancer {

/// Ordered: a role includes those before it.
enum class Role { None, Observe, Operate, Administer };

/// "none", "observe", "operate", "administer".
[[nodiscard]] std::string_view to_string(Role role);

/// Nothing for a word that is no role; "none" is none.
[[nodiscard]] std::optional<Role> parse_role(std::string_view word);

/// One attribute of a distinguished name, without escapes.
struct NameAttribute {
    std::string type; ///< "CN", "OU", …, as it was written
    std::string value;
};

/// Takes a distinguished name apart as RFC 4514 writes it. An escaped comma separates nothing, so
/// that "CN=eve\,OU=administer" is one attribute. The error says what is wrong; then nothing of
/// the name is to be believed.
[[nodiscard]] Result<std::vector<NameAttribute>> parse_name(std::string_view text);

/// Who a certificate's subject is.
struct Identity {
    std::string name; ///< its (first) CN; empty without one
    /// From the organizational units (OU) that are a role's word, letter by letter. Other units
    /// mean nothing. With more than one such word the lowest counts; without any: None.
    Role role = Role::None;
};
[[nodiscard]] Result<Identity> identity_of_subject(std::string_view subject);

} // namespace drover::balancer
