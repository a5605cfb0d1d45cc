// SPDX-License-Identifier: GPL-2.0-or-later
#include "victim.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace drover::testing {

namespace {

struct Pipe {
    UniqueFd read, write;
    Pipe()
    {
        int ends[2] = {-1, -1};
        EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
        read = UniqueFd(ends[0]);
        write = UniqueFd(ends[1]);
    }
};

/// Where the child finds its descriptors.
constexpr int ram_fd = 10;
constexpr int socket_fd = 11;

} // namespace

Victim::Victim(uint64_t pages, VictimOptions options)
{
    const uint64_t backing = options.hugetlb ? 2 << 20 : ram_page_size;
    block_ = {"victim", pages * ram_page_size, backing,
              UniqueFd(memfd_create("victim",
                                    options.hugetlb ? MFD_HUGETLB | MFD_CLOEXEC : MFD_CLOEXEC))};
    const uint64_t file_size = (block_.size + backing - 1) / backing * backing;
    EXPECT_EQ(ftruncate(block_.file.get(), static_cast<off_t>(file_size)), 0);
    struct stat file {};
    EXPECT_EQ(fstat(block_.file.get(), &file), 0);
    char id[64];
    snprintf(id, sizeof id, "%s=%llx:%llx", tracker_files_variable,
             static_cast<unsigned long long>(file.st_dev),
             static_cast<unsigned long long>(file.st_ino));
    int sockets[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    announcements_ = UniqueFd(sockets[0]);
    const UniqueFd theirs(sockets[1]);
    Pipe in, out;

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in.read.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out.write.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, block_.file.get(), ram_fd);
    posix_spawn_file_actions_adddup2(&actions, theirs.get(), socket_fd);
    std::vector<std::string> arguments{TRACKER_VICTIM, std::to_string(ram_fd),
                                       std::to_string(pages)};
    if (options.wrapped)
        arguments.insert(arguments.begin(), {"/bin/sh", "-c", "/bin/true; exec \"$0\" \"$@\""});
    std::vector<char*> argv;
    for (std::string& argument : arguments)
        argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::string environment[] = {std::string("LD_PRELOAD=") + TRACKER_LIBRARY, id,
                                 std::string(tracker_socket_variable) + "=" +
                                     std::to_string(socket_fd)};
    char* envp[] = {environment[0].data(), environment[1].data(), environment[2].data(), nullptr};
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), envp), 0);
    posix_spawn_file_actions_destroy(&actions);
    to_ = std::move(in.write);
    from_ = std::move(out.read);
    EXPECT_TRUE(answer()) << "it did not start";
}

Victim::~Victim()
{
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
}

void Victim::tell(const std::string& command)
{
    const std::string line = command + "\n";
    EXPECT_EQ(write(to_.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
}

bool Victim::has_answered() const
{
    pollfd answer{from_.get(), POLLIN, 0};
    return poll(&answer, 1, 0) != 0;
}

bool Victim::answer()
{
    pollfd waiting{from_.get(), POLLIN, 0};
    if (poll(&waiting, 1, 20'000) != 1)
        return false;
    std::string line;
    char byte = 0;
    while (read(from_.get(), &byte, 1) == 1 && byte != '\n')
        line += byte;
    std::istringstream words(line);
    std::string word;
    words >> word;
    numbers_.clear();
    for (long number = 0; words >> number;)
        numbers_.push_back(number);
    return word == "ok";
}

std::span<const BlockMapping> Victim::mappings()
{
    if (mappings_.empty()) {
        auto received = receive_mappings(announcements_.get());
        EXPECT_TRUE(received);
        auto placed = place_blocks(blocks(), std::move(*received));
        EXPECT_TRUE(placed) << placed.error().text();
        mappings_ = std::move(*placed);
    }
    return mappings_;
}

} // namespace drover::testing
