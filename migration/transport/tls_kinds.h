// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/tls_credentials.h"

#include <gnutls/gnutls.h>
#include <memory>
#include <type_traits>

namespace drover {

struct FreeTlsPriority {
    void operator()(gnutls_priority_t priority) const { gnutls_priority_deinit(priority); }
};
using TlsPriority = std::unique_ptr<std::remove_pointer_t<gnutls_priority_t>, FreeTlsPriority>;

// The two kinds of TlsCredentials; errors as of TlsCredentials::load().
[[nodiscard]] Result<SharedTlsCredentials> load_x509(TlsWords words, TlsPriority priority);
[[nodiscard]] Result<SharedTlsCredentials> load_psk(TlsWords words, TlsPriority priority);

} // namespace drover
