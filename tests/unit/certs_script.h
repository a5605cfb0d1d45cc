// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace drover::testing {

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

} // namespace drover::testing
