// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "vmm/qemu/become.h"

#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" { // glibc before 2.37 forgot it
#include <sys/pidfd.h>
}

namespace drover::qemu {

struct TestPipe {
    UniqueFd read_end;
    UniqueFd write_end;

    TestPipe()
    {
        int fds[2] = {-1, -1};
        EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
        read_end = UniqueFd(fds[0]);
        write_end = UniqueFd(fds[1]);
    }

    /// All that is written until the last writer has gone.
    std::string drain()
    {
        write_end.reset();
        std::string text;
        char buffer[256];
        ssize_t n = 0;
        while ((n = read(read_end.get(), buffer, sizeof buffer)) > 0)
            text.append(buffer, static_cast<size_t>(n));
        return text;
    }
};

/// A process that dies with the test, runs `work` and ends; what it returns is its exit code.
template <typename Work> pid_t fork_to(Work work)
{
    const pid_t pid = fork();
    EXPECT_GE(pid, 0);
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(work());
}

/// A program as a child of the test's own, as QemuProcess takes it: who watches a child and who
/// watches a parent see the same.
inline StartedQemu start_child(const QemuStart& start)
{
    TestPipe errors;
    StartedQemu child;
    child.pid = fork_to([&] {
        std::vector<char*> words{const_cast<char*>(start.binary.c_str())};
        for (const std::string& word : start.arguments)
            words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        dup2(errors.write_end.get(), STDERR_FILENO);
        const UniqueFd null(open("/dev/null", O_RDWR));
        if (start.null_stdio)
            dup2(null.get(), STDIN_FILENO), dup2(null.get(), STDOUT_FILENO);
        for (const int fd : start.keep_fds)
            (void)set_close_on_exec(fd, false);
        execv(start.binary.c_str(), words.data());
        return 127;
    });
    child.pidfd = UniqueFd(pidfd_open(child.pid, 0));
    EXPECT_TRUE(child.pidfd);
    EXPECT_TRUE(set_nonblocking(errors.read_end.get(), true));
    child.errors = std::move(errors.read_end);
    return child;
}

} // namespace drover::qemu
