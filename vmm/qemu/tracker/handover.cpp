// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/handover.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <poll.h>
#include <sys/socket.h>

namespace drover {

namespace {

/// One message, or nothing where none is waiting.
Result<std::optional<TrackedMapping>> receive_one(int socket)
{
    TrackedMapping mapping;
    iovec piece{&mapping.where, sizeof mapping.where};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n;
    do {
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)))
        return std::nullopt;
    if (n < 0)
        return fail_errno("receiving the place of guest RAM from QEMU", errno);
    std::vector<UniqueFd> fds;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            fds.emplace_back(fd);
        }
    }
    size_t next = 0;
    if (n == sizeof mapping.where && mapping.where.error == 0 && next < fds.size())
        mapping.userfaultfd = std::move(fds[next++]);
    if (n == sizeof mapping.where && mapping.where.holding_error == 0 && next < fds.size())
        mapping.holding = std::move(fds[next++]);
    const MappingMessage& where = mapping.where;
    if (n == sizeof where && where.length == 0)
        return mapping; // the library's hello
    if (n != sizeof where || where.address % 4096 || where.length % 4096 || where.offset % 4096 ||
        where.address + where.length < where.address)
        return fail(ErrorKind::Machine, "QEMU's tracker library sent a malformed message",
                    "is libdrover-tracker.so of another version?");
    return mapping;
}

} // namespace

Status check_library(int socket, pid_t qemu)
{
    MappingMessage hello;
    const ssize_t n = recv(socket, &hello, sizeof hello, MSG_PEEK | MSG_DONTWAIT);
    pollfd closed{socket, 0, 0}; // by a wrapper that loaded it, and executed a QEMU that did not
    const bool gone = poll(&closed, 1, 0) > 0;
    if (n != static_cast<ssize_t>(sizeof hello) || hello.length != 0 || gone)
        return fail(ErrorKind::Machine,
                    "QEMU has not loaded libdrover-tracker.so, without which it would outlive "
                    "Drover and could not be migrated",
                    "it must be linked dynamically, and have neither setuid nor file "
                    "capabilities: choose another by -vmm qemu,path=PROGRAM");
    if (hello.address != static_cast<uint64_t>(qemu))
        return fail(ErrorKind::Machine,
                    "QEMU runs in process " + std::to_string(hello.address) +
                        ", a child of the program that Drover executed as " + std::to_string(qemu),
                    "a wrapper must become QEMU (in a script: exec qemu-system-…)");
    return {};
}

Result<std::vector<TrackedMapping>> receive_mappings(int socket)
{
    std::vector<TrackedMapping> mappings;
    for (;;) {
        auto one = receive_one(socket);
        if (!one)
            return pass(one);
        if (!*one)
            return mappings;
        if ((*one)->where.length > 0)
            mappings.push_back(std::move(**one));
        if (mappings.size() > 1024)
            return fail(ErrorKind::Machine, "QEMU announced more than 1,024 RAM mappings");
    }
}

Result<std::string> find_tracker_library()
{
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/self/exe", error);
    if (error)
        return fail(ErrorKind::System, "reading /proc/self/exe: " + error.message());
    const fs::path beside = program.parent_path();
    for (const fs::path& directory : {beside, beside.parent_path() / "lib" / "drover"}) {
        const fs::path library = directory / "libdrover-tracker.so";
        if (fs::exists(library, error))
            return library.string();
    }
    return fail(ErrorKind::System, "libdrover-tracker.so is not beside " + program.string(),
                "install Drover completely, or build it by ./devtool build");
}

} // namespace drover
