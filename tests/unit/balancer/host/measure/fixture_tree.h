// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace drover::testing {

/// A directory that stands for "/", with the files of /proc and /sys that a test puts there.
class FixtureTree {
public:
    FixtureTree()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "drover-tree-XXXXXX");
        root_ = mkdtemp(pattern.data());
    }
    ~FixtureTree()
    {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }
    FixtureTree(const FixtureTree&) = delete;
    FixtureTree& operator=(const FixtureTree&) = delete;

    /// Writes over what was there: the file stays the same one, as the kernel's do.
    void put(const std::string& path, const std::string& text) const
    {
        const std::string whole = root_ + "/" + path;
        std::filesystem::create_directories(std::filesystem::path(whole).parent_path());
        std::ofstream(whole, std::ios::trunc) << text;
    }

    void remove(const std::string& path) const { std::filesystem::remove_all(root_ + "/" + path); }

    [[nodiscard]] const std::string& root() const { return root_; }

private:
    std::string root_;
};

} // namespace drover::testing
