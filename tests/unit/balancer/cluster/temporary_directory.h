// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace drover::balancer::cluster::testing {

/// In memory where that can be had, so that what is flushed to the disk costs nothing.
class TemporaryDirectory {
public:
    TemporaryDirectory()
    {
        std::error_code ignored;
        std::string pattern =
            (std::filesystem::is_directory("/dev/shm", ignored) ? "/dev/shm" : "/tmp") +
            std::string("/drover-test-XXXXXX");
        path_ = mkdtemp(pattern.data()) != nullptr ? pattern : "";
    }
    ~TemporaryDirectory()
    {
        std::error_code ignored;
        if (!path_.empty())
            std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

} // namespace drover::balancer::cluster::testing
