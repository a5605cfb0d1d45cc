// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"

#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace drover::testing {

/// A process that stands for an emulator. It does one thing at each step() and is killed in the
/// end, with the processes that it made. What runs in it may use system calls only.
class ChildProcess {
public:
    /// `work(n)` is called in the child at the n-th step, from 0.
    explicit ChildProcess(const std::function<void(int)>& work)
    {
        auto pair = socket_pair();
        EXPECT_TRUE(pair);
        ours_ = std::move(pair->first);
        UniqueFd theirs = std::move(pair->second);
        pid_ = fork();
        setpgid(pid_, pid_); // on both sides: whoever comes first
        if (pid_ != 0)
            return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        // Nothing else of the test's is its own: 3 is its only descriptor.
        dup2(theirs.release(), 3);
        close_range(4, ~0U, 0);
        theirs = UniqueFd(3);
        char byte = 0;
        for (int n = 0; read(theirs.get(), &byte, 1) == 1; ++n) {
            work(n);
            if (write(theirs.get(), &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    ~ChildProcess()
    {
        kill(-pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    /// Returns when the child has done it.
    void step() const
    {
        char byte = 0;
        ASSERT_EQ(write(ours_.get(), &byte, 1), 1);
        ASSERT_EQ(read(ours_.get(), &byte, 1), 1);
    }

    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    pid_t pid_ = -1;
    UniqueFd ours_;
};

} // namespace drover::testing
