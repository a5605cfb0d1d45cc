// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/tls_identity.h"
#include "tests/unit/certs_script.h"

#include <memory>
#include <string>
#include <vector>

namespace drover::balancer::testing {

using drover::testing::drover_certs;
using drover::testing::run;
using drover::testing::RunResult;
using drover::testing::TemporaryDirectory;

/// A fleet's authority with what tests need of it, made once for the whole program: the host
/// "node1" (localhost, 127.0.0.1, no role), people "olga" (observe), "oscar" (operate), "anna"
/// (administer), and certificates that drover-certs would not make.
class FleetCerts {
public:
    [[nodiscard]] static const FleetCerts& get();

    [[nodiscard]] TlsFiles files(const std::string& name) const;
    [[nodiscard]] std::shared_ptr<TlsIdentity> identity(const std::string& name) const
    {
        return std::make_shared<TlsIdentity>(files(name));
    }
    [[nodiscard]] const std::string& directory() const { return directory_.path(); }

    /// Of the authority at `directory`, with any subject ("/CN=…"), extensions (of a line each)
    /// and life in days, which may be over.
    static void make(const std::string& directory, const std::string& name,
                     const std::string& subject, const std::string& extensions, int days = 2);

private:
    FleetCerts();
    TemporaryDirectory directory_;
};

} // namespace drover::balancer::testing
