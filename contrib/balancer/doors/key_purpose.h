// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <gio/gio.h>
#include <span>

namespace drover::balancer {

/// What a certificate may be used for (RFC 5280, 4.2.1.12).
enum class KeyPurpose { Server, Client };

/// Whether the certificate (DER) names the purpose in its extended key usage. GIO 2.74 does not
/// look at it, and without it a person's certificate could pose as the host of that name. False
/// too where the extension is missing, and where the bytes are no certificate.
[[nodiscard]] bool has_purpose(std::span<const unsigned char> der, KeyPurpose purpose);
[[nodiscard]] bool has_purpose(GTlsCertificate* certificate, KeyPurpose purpose);

} // namespace drover::balancer
