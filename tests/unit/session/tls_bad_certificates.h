// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace drover::testing {

/// Makes the certificate in the PEM file one that ended yesterday, signed by the authority whose
/// ca.crt and ca.key are in that directory. The test fails if it cannot.
void let_expire(const std::string& certificate, const std::string& authority);

/// Writes the authority's list of revoked certificates, with this one on it, to the file `list`.
void revoke(const std::string& certificate, const std::string& authority, const std::string& list);

} // namespace drover::testing
