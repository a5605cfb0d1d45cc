// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/transport/tls_credentials.h"
#include "tests/unit/certs_script.h"

#include <string>

namespace drover::testing {

/// Directories as QEMU's TLS objects want them, made once for the program by the fleet's own
/// script. `here` and `there` are hosts of one authority (`there` is reached by "there.example" and
/// 127.0.0.1), `stranger` is one of another that has the same names. Removed at the end.
class TlsFiles {
public:
    static const TlsFiles& get();

    /// "here", "there", "stranger", or "nobody", which has the authority and no certificate.
    [[nodiscard]] std::string dir(const std::string& name) const { return directory_ / name; }

    /// Of "ours" or "other": where its ca.crt and ca.key are.
    [[nodiscard]] std::string authority(const std::string& name) const { return dir(name + "-ca"); }

    /// A copy of a directory for a test that changes what is in it.
    [[nodiscard]] std::string copy(const std::string& name, const std::string& as) const;

    /// Of certificates: what `name` shows as a source that calls `hostname`.
    [[nodiscard]] SharedTlsCredentials client(const std::string& name,
                                              const std::string& hostname = "there.example") const;
    /// What `name` demands as a destination, and whom of these it lets in.
    [[nodiscard]] SharedTlsCredentials
    server(const std::string& name,
           std::function<Status(const std::string&)> authorize = nullptr) const;

    TlsFiles(const TlsFiles&) = delete;
    TlsFiles& operator=(const TlsFiles&) = delete;

private:
    TlsFiles();
    void make_authority(const std::string& name) const;
    void make_host(const std::string& authority, const std::string& name,
                   const std::string& into) const;

    TemporaryDirectory directory_;
};

/// Loaded, or the test fails.
[[nodiscard]] SharedTlsCredentials loaded(TlsWords words);

} // namespace drover::testing
