// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/process.h"

#include "vmm/qemu/spawn.h"

#include <csignal>
#include <fcntl.h>
#include <glib.h>
#include <gtest/gtest.h>
#include <optional>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

struct Pipe {
    UniqueFd read_end;
    UniqueFd write_end;

    Pipe()
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

/// A shell script as the child, and how it ended.
struct Child {
    std::unique_ptr<QemuProcess> process;
    std::optional<ExitStatus> status;
    std::string words;

    void start(const std::string& script, SpawnRequest request = {})
    {
        request.binary = "/bin/sh";
        request.arguments = {"-c", script};
        auto spawned = QemuProcess::spawn(request, [this](ExitStatus ended, std::string last) {
            status = ended;
            words = std::move(last);
        });
        ASSERT_TRUE(spawned) << spawned.error().text();
        process = std::move(*spawned);
    }

    void wait()
    {
        while (!status)
            g_main_context_iteration(nullptr, TRUE);
    }
};

TEST(QemuProcess, ReportsCodeAndLastWords)
{
    Child child;
    child.start("echo 'no such machine' >&2; exit 3");
    EXPECT_TRUE(child.process->running());
    child.wait();
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
    Child child;
    child.start("printf '%8000s' begin >&2; printf end >&2");
    child.wait();
    dup2(own.get(), STDERR_FILENO);
    EXPECT_EQ(copy.drain().size(), 8003u);
    EXPECT_EQ(child.words.size(), 4096u);
    EXPECT_TRUE(child.words.ends_with("beginend"));
}

TEST(QemuProcess, ReportsTheSignal)
{
    Child child;
    child.start("kill -STOP $$");
    child.process->kill(SIGKILL);
    child.wait();
    EXPECT_EQ(child.status->signal, SIGKILL);
    EXPECT_EQ(child.status->text(), "was killed by SIGKILL");
}

TEST(QemuProcess, StoppingIsNoExit)
{
    Child child;
    child.start("kill -STOP $$; exit 5");
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.process->pid()), &info, WSTOPPED | WNOWAIT), 0);
    while (g_main_context_iteration(nullptr, FALSE)) {
    }
    EXPECT_FALSE(child.status);
    child.process->kill(SIGCONT);
    child.wait();
    EXPECT_EQ(child.status->code, 5);
}

TEST(QemuProcess, AProgramThatCannotRunIsAnError)
{
    const auto spawned = QemuProcess::spawn({.binary = "/no/such/qemu"}, {});
    ASSERT_FALSE(spawned);
    EXPECT_EQ(spawned.error().message, "executing /no/such/qemu: No such file or directory");
}

TEST(QemuProcess, PassesTheDescriptorsAskedForAndNoOthers)
{
    Pipe kept;
    Pipe other;
    SpawnRequest request;
    request.keep_fds = {kept.write_end.get()};
    request.environment = {{"DROVER_TEST", "a b"}, {"PATH", "/bin:/usr/bin"}};
    Child child;
    child.start("echo \"$DROVER_TEST\" >&" + std::to_string(kept.write_end.get()) +
                    "; test ! -e /proc/self/fd/" + std::to_string(other.write_end.get()) +
                    " && test \"$(env | grep -c ^PATH=)\" = 1",
                request);
    child.wait();
    EXPECT_EQ(child.status->code, 0) << child.words;
    EXPECT_EQ(kept.drain(), "a b\n");
}

TEST(QemuProcess, StdioCanBeNull)
{
    SpawnRequest request;
    request.null_stdio = true;
    Child child;
    child.start("test \"$(readlink /proc/$$/fd/0)\" = /dev/null && "
                "test \"$(readlink /proc/$$/fd/1)\" = /dev/null",
                request);
    child.wait();
    EXPECT_EQ(child.status->code, 0);
}

TEST(QemuProcess, SignalsAreAsAtTheStartOfAProgram)
{
    const auto before = signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigset_t mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &blocked, &mask);
    Child child;
    child.start("kill -PIPE $$; exit 0");
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    signal(SIGPIPE, before);
    child.wait();
    EXPECT_EQ(child.status->signal, SIGPIPE);
}

TEST(QemuProcess, DestroyingItKillsTheChild)
{
    Pipe alive;
    Child child;
    child.start("kill -STOP $$", {.keep_fds = {alive.write_end.get()}});
    const pid_t pid = child.process->pid();
    child.process.reset();
    EXPECT_EQ(alive.drain(), "");
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_FALSE(child.status);
}

TEST(QemuProcess, TheCallbackMayDestroyIt)
{
    std::unique_ptr<QemuProcess> process;
    bool called = false;
    auto spawned = QemuProcess::spawn({.binary = "/bin/true"}, [&](ExitStatus, std::string) {
        process.reset();
        called = true;
    });
    ASSERT_TRUE(spawned);
    process = std::move(*spawned);
    while (!called)
        g_main_context_iteration(nullptr, TRUE);
    EXPECT_EQ(process, nullptr);
}

TEST(QemuProcess, TheChildDiesWithUs)
{
    Pipe alive;
    Pipe silence; // the child waits for a line that never comes
    const pid_t parent = fork();
    ASSERT_GE(parent, 0);
    if (parent == 0) {
        const std::string input = std::to_string(silence.read_end.get());
        const auto spawned =
            spawn_child({.binary = "/bin/sh",
                         .arguments = {"-c", "read line <&" + input},
                         .keep_fds = {alive.write_end.get(), silence.read_end.get()}});
        _exit(spawned ? 0 : 1); // without any clean-up, as if killed
    }
    int status = 0;
    ASSERT_EQ(waitpid(parent, &status, 0), parent);
    EXPECT_EQ(status, 0);
    alive.write_end.reset();
    pollfd gone{.fd = alive.read_end.get(), .events = POLLIN};
    EXPECT_EQ(poll(&gone, 1, 10'000), 1) << "the child lives on"; // hung up once the child is gone
    silence.write_end.reset();
}

} // namespace
} // namespace drover::qemu
