// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/mount.h>
#include <unistd.h>

namespace drover::testing {

/// A file system that is soon full. Only root may mount it: elsewhere the test is to be skipped.
class SmallTmpfs {
public:
    explicit SmallTmpfs(uint64_t size)
    {
        directory_ = ::testing::TempDir() + "drover-tmpfs-XXXXXX";
        if (!mkdtemp(directory_.data()))
            error_ = errno;
        else if (mount("tmpfs", directory_.c_str(), "tmpfs", 0,
                       ("size=" + std::to_string(size)).c_str()) < 0)
            error_ = errno;
    }
    ~SmallTmpfs()
    {
        if (error_ == 0)
            umount2(directory_.c_str(), MNT_DETACH);
        rmdir(directory_.c_str());
    }
    SmallTmpfs(const SmallTmpfs&) = delete;
    SmallTmpfs& operator=(const SmallTmpfs&) = delete;

    explicit operator bool() const { return error_ == 0; }
    [[nodiscard]] std::string why_not() const
    {
        return std::string("no tmpfs can be mounted here: ") + strerror(error_);
    }
    [[nodiscard]] UniqueFd file(const char* name) const
    {
        return UniqueFd(
            open((directory_ + "/" + name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    }

private:
    std::string directory_;
    int error_ = 0;
};

} // namespace drover::testing
