// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/tls_identity.h"

#include <memory>
#include <string>
#include <vector>

namespace drover::balancer::testing {

/// Runs a program to its end: its exit code, and what it said on both outputs.
struct RunResult {
    int code = -1;
    std::string out;
};
[[nodiscard]] RunResult run(std::vector<std::string> words);

/// scripts/drover-certs.
[[nodiscard]] RunResult drover_certs(std::vector<std::string> words);

/// A directory that is removed at the end.
class TemporaryDirectory {
public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] std::string operator/(const std::string& name) const
    {
        return path_ + "/" + name;
    }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

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
