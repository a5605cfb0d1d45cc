// SPDX-License-Identifier: GPL-2.0-or-later
//
// libdrover-tracker.so, preloaded into QEMU. It makes guest RAM trackable from outside:
//
//  - the moment a RAM file is mapped, the mapping is registered with a userfaultfd in asynchronous
//    write-protect mode, which is handed to Drover (see handover.h);
//  - after a read from a file into guest RAM the pages are touched. A direct read (O_DIRECT) is
//    written by the device into pages that were pinned when it was issued: if the tracker collects
//    and protects a page between that and the arrival of the data, nothing reports the data. The
//    touch, before QEMU tells the guest that the read is done, does.
//
// What Drover starts may be a script, or a program that in turn executes QEMU: they all load this
// library, and so do their helpers. Only the process that maps a RAM file is QEMU, so nothing of
// the environment is taken away, and the socket stays open across exec, until then.
//
// It runs in every thread of QEMU, at any time, even before constructors: system calls only, no
// allocation, no C++ library.
#include "vmm/qemu/tracker/handover.h"
#include "vmm/qemu/tracker/kernel_abi.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

using drover::MappingMessage;

struct FileId {
    uint64_t device;
    uint64_t inode;
};

/// QEMU has up to 256 slots for DIMMs. A mapping for which there is no slot is not announced: then
/// the guest is refused migration, since a range that is announced and not touched loses data.
constexpr size_t max_files = 512;
FileId g_files[max_files];
size_t g_file_count = 0;
int g_socket = -1;
int g_farewell = -1;
std::atomic<bool> g_is_qemu{false};

/// The RAM mapped so far. Slots are only ever added: `g_range_count` is raised after a slot is
/// complete, so that readers need no lock.
struct Range {
    uintptr_t start;
    uintptr_t end;
};
Range g_ranges[max_files];
std::atomic<size_t> g_range_count{0};

void drop_our_preload()
{
    // QEMU's own children (scripts, helpers) are not to carry this library.
    // Changed in place: setenv() would allocate. A wrapper may have put others before us.
    char* preload = getenv("LD_PRELOAD");
    char* name = preload ? strstr(preload, "libdrover-tracker.so") : nullptr;
    if (!name)
        return;
    char* start = name;
    while (start > preload && start[-1] != ':' && start[-1] != ' ')
        --start;
    char* end = name + strcspn(name, ": ");
    if (*end)
        memmove(start, end + 1, strlen(end));
    else if (start > preload)
        start[-1] = '\0';
    else
        unsetenv("LD_PRELOAD");
}

/// Asks the kernel to kill us when Drover's end of the socket closes. Drover is a child of ours,
/// for whose death there is no other signal that cannot be missed. -runas, a change of identity,
/// comes later, and changes nothing of this.
void die_with_drover()
{
    fcntl(g_socket, F_SETOWN, getpid());
    fcntl(g_socket, F_SETSIG, SIGKILL);
    fcntl(g_socket, F_SETFL, fcntl(g_socket, F_GETFL) | O_ASYNC);
    pollfd closed{g_socket, POLLIN, 0};
    if (poll(&closed, 1, 0) > 0 && (closed.revents & POLLHUP))
        kill(getpid(), SIGKILL); // it was closed before the kernel was asked
}

/// Yama lets a process trace its descendants only, and Drover is a child of ours.
void let_drover_trace()
{
    const char* companion = getenv(drover::companion_variable);
    if (companion)
        prctl(PR_SET_PTRACER, strtoul(companion, nullptr, 10), 0, 0, 0); // fails without Yama
}

void end_as_failed(int)
{
    _exit(1);
}

/// Both descriptors are optional.
void send_message(const MappingMessage& message, int tracking, int holding);

void say_hello()
{
    MappingMessage hello;
    hello.address = static_cast<uint64_t>(getpid());
    send_message(hello, -1, -1);
}

/// This process is QEMU: a RAM file was mapped. QEMU's main thread is alone with the environment at
/// that time, as far as we know of it.
void become_qemus()
{
    if (g_is_qemu.exchange(true))
        return;
    fcntl(g_socket, F_SETFD, FD_CLOEXEC);
    fcntl(g_farewell, F_SETFD, FD_CLOEXEC);
    die_with_drover();
    let_drover_trace();
    signal(drover::end_as_failed_signal(), end_as_failed);
    say_hello();
    unsetenv(drover::tracker_socket_variable);
    unsetenv(drover::tracker_files_variable);
    unsetenv(drover::companion_variable);
    unsetenv(drover::farewell_variable);
    drop_our_preload();
}

__attribute__((constructor)) void read_environment()
{
    const char* socket = getenv(drover::tracker_socket_variable);
    const char* files = getenv(drover::tracker_files_variable);
    if (!socket || !files)
        return;
    char* at = const_cast<char*>(files);
    while (*at && g_file_count < max_files) {
        FileId& file = g_files[g_file_count++];
        file.device = strtoull(at, &at, 16);
        at += *at == ':';
        file.inode = strtoull(at, &at, 16);
        at += *at == ',';
    }
    g_socket = static_cast<int>(strtol(socket, nullptr, 10));
    if (const char* farewell = getenv(drover::farewell_variable))
        g_farewell = static_cast<int>(strtol(farewell, nullptr, 10));
    if (g_file_count == 0)
        become_qemus(); // no RAM file will tell
}

/// Our stderr goes through Drover: whoever waits for our end finds there what we said.
__attribute__((destructor)) void let_words_arrive()
{
    char byte = 0;
    if (g_farewell < 0 || send(g_farewell, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return;
    pollfd answer{g_farewell, POLLIN, 0};
    // A helper of a wrapper's must not leave its answer to QEMU.
    if (poll(&answer, 1, 1000) > 0)
        recv(g_farewell, &byte, 1, MSG_DONTWAIT);
}

bool is_guest_ram(int fd, MappingMessage& message)
{
    struct stat file;
    if (g_socket < 0 || fd < 0 || fstat(fd, &file) < 0)
        return false;
    message.device = file.st_dev;
    message.inode = file.st_ino;
    for (size_t i = 0; i < g_file_count; ++i)
        if (g_files[i].device == file.st_dev && g_files[i].inode == file.st_ino)
            return true;
    // Memory that is plugged later: which file it is nobody could tell us. Drover knows its own.
    const bool ram_is_there =
        g_file_count == 0 || g_range_count.load(std::memory_order_acquire) > 0;
    return ram_is_there && S_ISREG(file.st_mode);
}

/// A userfaultfd that watches the mapping, or -1 with errno.
int make_userfaultfd(const MappingMessage& message)
{
    const int fd =
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
    if (fd < 0)
        return -1;
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = drover::abi::uffd_tracking_features;
    uffdio_register range{};
    range.range.start = message.address;
    range.range.len = message.length;
    range.mode = UFFDIO_REGISTER_MODE_WP;
    if (ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &range) < 0) {
        const int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/// One that also sees what the kernel does for QEMU (system calls, KVM), where we may; Drover gives
/// it features and ranges when it needs it. -1 with errno.
int make_holding_userfaultfd()
{
    const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
    if (fd >= 0 || errno != EPERM)
        return fd;
    const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC); // where it was given to us
    if (device < 0)
        return errno = EPERM, -1;
    const int made = ioctl(device, drover::abi::userfaultfd_new, O_CLOEXEC | O_NONBLOCK);
    close(device);
    errno = EPERM;
    return made;
}

void send_message(const MappingMessage& message, int tracking, int holding)
{
    iovec piece{const_cast<MappingMessage*>(&message), sizeof message};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))]{};
    int fds[2];
    size_t count = 0;
    if (tracking >= 0)
        fds[count++] = tracking;
    if (holding >= 0)
        fds[count++] = holding;
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (count > 0) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        cmsghdr* c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    sendmsg(g_socket, &header, MSG_NOSIGNAL);
}

void announce_ram(void* address, size_t length, off_t offset, MappingMessage& message)
{
    message.offset = static_cast<uint64_t>(offset);
    message.address = reinterpret_cast<uintptr_t>(address);
    message.length = (length + 4095) / 4096 * 4096;
    // The slot first: from the announcement on the range must be touched.
    const size_t slot = g_range_count.load(std::memory_order_relaxed);
    if (slot == max_files)
        return;
    g_ranges[slot] = {message.address, message.address + message.length};
    g_range_count.store(slot + 1, std::memory_order_release);

    const int tracking = make_userfaultfd(message); // stays open: its last close ends the tracking
    message.error = tracking < 0 ? errno : 0;
    const int holding = make_holding_userfaultfd();
    message.holding_error = holding < 0 ? errno : 0;
    send_message(message, tracking, holding);
    if (holding >= 0)
        close(holding); // it is Drover's: a guest that took QEMU over is not to have it
}

/// Dirties each page of [start, start + length) that is guest RAM, changing nothing: the locked
/// "or" with zero cannot lose a write that a vCPU makes at the same time.
void touch(uintptr_t start, size_t length)
{
    const uintptr_t end = start + length;
    const size_t count = g_range_count.load(std::memory_order_acquire);
    for (size_t i = 0; i < count; ++i) {
        uintptr_t at = start > g_ranges[i].start ? start : g_ranges[i].start;
        const uintptr_t stop = end < g_ranges[i].end ? end : g_ranges[i].end;
        for (; at < stop; at = (at / 4096 + 1) * 4096)
            __atomic_fetch_or(reinterpret_cast<volatile uint8_t*>(at), 0, __ATOMIC_SEQ_CST);
    }
}

ssize_t touched(ssize_t result, const iovec* pieces, int count)
{
    const int error = errno;
    auto left = static_cast<size_t>(result > 0 ? result : 0);
    for (int i = 0; i < count && left > 0; ++i) {
        const size_t length = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        touch(reinterpret_cast<uintptr_t>(pieces[i].iov_base), length);
        left -= length;
    }
    errno = error;
    return result;
}

} // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void* mmap64(void* address, size_t length, int protection, int flags, int fd, off_t offset)
{
    const long result = syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    if (result == -1)
        return MAP_FAILED;
    void* mapped = reinterpret_cast<void*>(result);
    MappingMessage message;
    if ((protection & PROT_WRITE) && (flags & MAP_SHARED) && is_guest_ram(fd, message)) {
        const int error = errno;
        become_qemus();
        announce_ram(mapped, length, offset, message);
        errno = error;
    }
    return mapped;
}

EXPORTED ssize_t pread64(int fd, void* buffer, size_t size, off_t offset)
{
    const iovec piece{buffer, size};
    return touched(syscall(SYS_pread64, fd, buffer, size, offset), &piece, 1);
}

EXPORTED ssize_t preadv64(int fd, const iovec* pieces, int count, off_t offset)
{
    // The kernel takes the offset in two halves; on a 64-bit machine the second is ignored.
    return touched(syscall(SYS_preadv, fd, pieces, count, offset, 0), pieces, count);
}

EXPORTED ssize_t preadv64v2(int fd, const iovec* pieces, int count, off_t offset, int flags)
{
    return touched(syscall(SYS_preadv2, fd, pieces, count, offset, 0, flags), pieces, count);
}

EXPORTED ssize_t read(int fd, void* buffer, size_t size)
{
    const iovec piece{buffer, size};
    return touched(syscall(SYS_read, fd, buffer, size), &piece, 1);
}

EXPORTED ssize_t readv(int fd, const iovec* pieces, int count)
{
    return touched(syscall(SYS_readv, fd, pieces, count), pieces, count);
}

// What a compiler that fortifies (Debian's does) calls where it knows the buffer's size.
EXPORTED ssize_t checked_read(int, void*, size_t, size_t) __asm__("__read_chk");
ssize_t checked_read(int fd, void* buffer, size_t size, size_t room)
{
    if (size > room)
        abort();
    return read(fd, buffer, size);
}

EXPORTED ssize_t checked_pread(int, void*, size_t, off_t, size_t) __asm__("__pread64_chk");
ssize_t checked_pread(int fd, void* buffer, size_t size, off_t offset, size_t room)
{
    if (size > room)
        abort();
    return pread64(fd, buffer, size, offset);
}

// 64-bit glibc has two names for each.
EXPORTED void* plain_mmap(void*, size_t, int, int, int, off_t) noexcept __asm__("mmap")
    __attribute__((alias("mmap64")));
EXPORTED ssize_t plain_pread(int, void*, size_t, off_t) __asm__("pread")
    __attribute__((alias("pread64")));
EXPORTED ssize_t plain_preadv(int, const iovec*, int, off_t) __asm__("preadv")
    __attribute__((alias("preadv64")));
EXPORTED ssize_t plain_preadv2(int, const iovec*, int, off_t, int) __asm__("preadv2")
    __attribute__((alias("preadv64v2")));
EXPORTED ssize_t plain_pread_chk(int, void*, size_t, off_t, size_t) __asm__("__pread_chk")
    __attribute__((alias("__pread64_chk")));
