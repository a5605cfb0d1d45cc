// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/tls_credentials.h"
#include "monitor/qmp_client.h"

#include <functional>
#include <string>

namespace drover {

/// QEMU's migration parameters about TLS.
struct TlsParameters {
    std::string creds;    ///< an object tls-creds-x509 or tls-creds-psk; empty: no TLS
    std::string hostname; ///< empty: the one that is called
    std::string authz;    ///< an object authz-…; empty: whoever has a certificate
};

/// Asks QEMU, which has them, what the user's objects say, and reads their files. `done` gets null
/// where no TLS is wanted, and is called at once then, else later; not at all if `qemu` is
/// destroyed before. `host`: who is called, for a source.
void read_tls_credentials(QmpClient& qemu, const TlsParameters& parameters,
                          TlsWords::Endpoint endpoint, const std::string& host,
                          std::function<void(Result<SharedTlsCredentials>)> done);

/// The same where the objects are not QEMU's: `object` (null: no TLS) and `authz` (null: none) as
/// object-add has them.
[[nodiscard]] Result<SharedTlsCredentials> make_tls_credentials(const Json& object,
                                                                const Json& authz,
                                                                TlsWords::Endpoint endpoint,
                                                                const std::string& host);

} // namespace drover
