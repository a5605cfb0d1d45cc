// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/gio.h"

#include <array>
#include <string>
#include <sys/stat.h>

namespace drover::balancer {

/// PEM files, as `scripts/drover-certs` makes them.
struct TlsFiles {
    std::string ca;   ///< the fleet's authority: whom we believe
    std::string cert; ///< who we are
    std::string key;  ///< its private key; must not be open to everybody
};

/// What a connection needs of the files.
struct TlsMaterial {
    Ref<GTlsCertificate> certificate; ///< with its key
    Ref<GTlsDatabase> authority;
};

/// The files, read again when they have changed, so that a renewed certificate serves the next
/// connection without a restart. Loop thread only.
class TlsIdentity {
public:
    explicit TlsIdentity(TlsFiles files) : files_(std::move(files)) {}

    /// An error names the file and what to do. If only a reload fails (a renewal may be half done)
    /// the former material goes on, with a warning in the log, and the files are tried again at the
    /// next call.
    [[nodiscard]] Result<TlsMaterial> material();

    /// Nothing, or that our certificate is of no use today, in words.
    [[nodiscard]] Status check_dates();

    [[nodiscard]] const TlsFiles& files() const { return files_; }

private:
    struct Version {
        timespec changed = {};
        ino_t inode = 0;
        off_t size = -1;
    };
    using Versions = std::array<Version, 3>;

    [[nodiscard]] Versions look() const;
    [[nodiscard]] Result<TlsMaterial> load() const;

    TlsFiles files_;
    Versions loaded_;
    TlsMaterial material_; // empty until the first that was good
    bool warned_ = false;
};

} // namespace drover::balancer
