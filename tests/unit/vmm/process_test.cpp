// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/process.h"

#include "child.h"

#include <csignal>
#include <glib.h>
#include <gtest/gtest.h>
#include <optional>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

using Pipe = TestPipe;

/// A shell script as the watched process, and how it ended.
struct Watched {
    std::unique_ptr<QemuProcess> process;
    bool ended = false;
    std::optional<ExitStatus> status;
    std::string words;

    void start(const std::string& script, QemuStart start = {})
    {
        start.binary = "/bin/sh";
        start.arguments = {"-c", script};
        process = std::make_unique<QemuProcess>(
            start_child(start), [this](std::optional<ExitStatus> how, std::string last) {
                ended = true;
                status = how;
                words = std::move(last);
            });
    }

    void wait()
    {
        while (!ended)
            g_main_context_iteration(nullptr, TRUE);
        waitpid(process->pid(), nullptr, 0);
    }
};

TEST(QemuProcess, ReportsCodeAndLastWords)
{
    Watched child;
    child.start("echo 'no such machine' >&2; exit 3");
    EXPECT_TRUE(child.process->running());
    child.wait();
    ASSERT_TRUE(child.status);
    EXPECT_EQ(child.status->code, 3);
    EXPECT_EQ(child.status->signal, 0);
    EXPECT_FALSE(child.status->success());
    EXPECT_EQ(child.status->text(), "exited with code 3");
    EXPECT_EQ(child.words, "no such machine\n");
    EXPECT_FALSE(child.process->running());
    child.process->kill(SIGTERM); // harmless now
}

TEST(QemuProcess, CopiesStderrAndKeepsItsEnd)
{
    Pipe copy;
    const UniqueFd own(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
    dup2(copy.write_end.get(), STDERR_FILENO);
    Watched child;
    child.start("printf '%8000s' begin >&2; printf end >&2");
    child.wait();
    dup2(own.get(), STDERR_FILENO);
    EXPECT_EQ(copy.drain().size(), 8003u);
    EXPECT_EQ(child.words.size(), 4096u);
    EXPECT_TRUE(child.words.ends_with("beginend"));
}

TEST(QemuProcess, ReportsTheSignal)
{
    Watched child;
    child.start("kill -STOP $$");
    child.process->kill(SIGKILL);
    child.wait();
    ASSERT_TRUE(child.status);
    EXPECT_EQ(child.status->signal, SIGKILL);
    EXPECT_EQ(child.status->text(), "was killed by SIGKILL");
}

/// Its parent may be quicker, and reap it.
TEST(QemuProcess, AStatusThatNobodyCanKnowIsNone)
{
    const StartedQemu child = start_child({.binary = "/bin/false"});
    waitpid(child.pid, nullptr, 0);
    const auto status = exit_status_of(child.pid, child.pidfd.get());
    if (status) { // from Linux 6.15 on
        EXPECT_EQ(status->code, 1);
    }
}

TEST(QemuProcess, StoppingIsNoExit)
{
    Watched child;
    child.start("kill -STOP $$; exit 5");
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.process->pid()), &info, WSTOPPED | WNOWAIT), 0);
    while (g_main_context_iteration(nullptr, FALSE)) {
    }
    EXPECT_FALSE(child.ended);
    child.process->kill(SIGCONT);
    child.wait();
    ASSERT_TRUE(child.status);
    EXPECT_EQ(child.status->code, 5);
}

TEST(QemuProcess, DestroyingItKillsTheProcess)
{
    Pipe alive;
    Watched child;
    child.start("kill -STOP $$", {.keep_fds = {alive.write_end.get()}});
    const pid_t pid = child.process->pid();
    child.process.reset();
    EXPECT_EQ(alive.drain(), "");
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, WNOHANG), pid);
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    EXPECT_FALSE(child.ended);
}

TEST(QemuProcess, OneThatDoesNotEndAsFailedIsKilled)
{
    Watched child;
    child.start("trap '' RTMAX-5; kill -STOP $$; read line", {});
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.process->pid()), &info, WSTOPPED | WNOWAIT), 0);
    child.process->end_as_failed();
    child.wait();
    ASSERT_TRUE(child.status);
    EXPECT_EQ(child.status->signal, SIGKILL);
}

TEST(QemuProcess, TheCallbackMayDestroyIt)
{
    std::unique_ptr<QemuProcess> process;
    bool called = false;
    process = std::make_unique<QemuProcess>(start_child({.binary = "/bin/true"}),
                                            [&](std::optional<ExitStatus>, const std::string&) {
                                                process.reset();
                                                called = true;
                                            });
    while (!called)
        g_main_context_iteration(nullptr, TRUE);
    EXPECT_EQ(process, nullptr);
}

/// What a started process becomes, as its parent sees it; its companion ends with 0 where all went
/// well.
struct Started {
    Pipe said; ///< by the companion
    pid_t pid = -1;

    explicit Started(const QemuStart& start)
    {
        pid = fork_to([&] {
            const pid_t before = getpid();
            const auto qemu = become_qemu(start);
            const std::string text = !qemu                    ? qemu.error().message
                                     : getpid() == before     ? "nobody was forked"
                                     : getppid() == qemu->pid ? "companion"
                                                              : "orphan";
            if (write(said.write_end.get(), text.data(), text.size()) < 0)
                return 2;
            return qemu ? 0 : 1;
        });
    }

    int wait() const
    {
        int status = 0;
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        return status;
    }
};

QemuStart script(const std::string& text, QemuStart start = {})
{
    start.binary = "/bin/sh";
    start.arguments = {"-c", text};
    return start;
}

TEST(BecomeQemu, TheStartedProcessRunsTheProgram)
{
    Pipe told;
    Pipe heard; // it lives until its companion was heard: one that has ended is nobody's parent
    Started started(script("echo $$ >&" + std::to_string(told.write_end.get()) + "; read line <&" +
                               std::to_string(heard.read_end.get()) + "; exit 7",
                           {.keep_fds = {told.write_end.get(), heard.read_end.get()}}));
    EXPECT_EQ(started.said.drain(), "companion");
    EXPECT_EQ(write(heard.write_end.get(), "\n", 1), 1);
    EXPECT_EQ(told.drain(), std::to_string(started.pid) + "\n");
    EXPECT_EQ(WEXITSTATUS(started.wait()), 7);
}

TEST(BecomeQemu, AProgramThatCannotRunIsToldBeforeTheEnd)
{
    Started started({.binary = "/no/such/qemu"});
    EXPECT_EQ(WEXITSTATUS(started.wait()), 1);
    EXPECT_EQ(started.said.drain(), "executing /no/such/qemu: No such file or directory");
}

TEST(BecomeQemu, PassesTheDescriptorsAskedForAndNoOthers)
{
    Pipe kept;
    Pipe other;
    QemuStart start;
    start.keep_fds = {kept.write_end.get()};
    start.environment = {{"DROVER_TEST", "a b"}, {"PATH", "/bin:/usr/bin"}};
    const Started started(script("echo \"$DROVER_TEST\" >&" + std::to_string(kept.write_end.get()) +
                                     "; test ! -e /proc/self/fd/" +
                                     std::to_string(other.write_end.get()) +
                                     " && test \"$(env | grep -c ^PATH=)\" = 1 && "
                                     "test \"$(grep -c . /proc/$$/task/$$/children)\" -le 1 && "
                                     "test -n \"$DROVER_COMPANION\"",
                                 start));
    EXPECT_EQ(WEXITSTATUS(started.wait()), 0);
    EXPECT_EQ(kept.drain(), "a b\n");
}

TEST(BecomeQemu, StdioCanBeNull)
{
    const Started started(script("test \"$(readlink /proc/$$/fd/0)\" = /dev/null && "
                                 "test \"$(readlink /proc/$$/fd/1)\" = /dev/null",
                                 {.null_stdio = true}));
    EXPECT_EQ(WEXITSTATUS(started.wait()), 0);
}

TEST(BecomeQemu, SignalsAreAsAtTheStartOfAProgram)
{
    const auto before = signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigset_t mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &blocked, &mask);
    const Started started(script("kill -PIPE $$; exit 0"));
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    signal(SIGPIPE, before);
    EXPECT_EQ(WTERMSIG(started.wait()), SIGPIPE);
}

} // namespace
} // namespace drover::qemu
