// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/tls_credentials.h"

#include <gnutls/gnutls.h>

namespace drover {

// The two kinds of TlsCredentials; errors as of TlsCredentials::load().
[[nodiscard]] Result<SharedTlsCredentials> load_x509(TlsWords words, TlsPriority priority);
[[nodiscard]] Result<SharedTlsCredentials> load_psk(TlsWords words, TlsPriority priority);

} // namespace drover
