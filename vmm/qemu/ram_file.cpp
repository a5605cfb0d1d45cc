// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/ram_file.h"

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace drover::qemu {

namespace {

std::string what(const RamFile& ram, const std::string& action)
{
    return "RAM '" + ram.id + "': " + action;
}

Result<UniqueFd> make_memfd(const RamFile& ram)
{
    // Where vm.memfd_noexec=2 only files that can never be executed may be made.
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL;
    if (ram.memfd_hugetlb) {
        flags |= MFD_HUGETLB;
        if (ram.huge_page_size != 0) {
            if (!std::has_single_bit(ram.huge_page_size))
                return fail(ErrorKind::Invalid,
                            what(ram, "hugetlbsize=" + std::to_string(ram.huge_page_size) +
                                          " is not a power of two"));
            flags |= static_cast<unsigned>(std::countr_zero(ram.huge_page_size)) << MFD_HUGE_SHIFT;
        }
    }
    const std::string name = ("drover-ram:" + ram.id).substr(0, 200);
    UniqueFd fd(memfd_create(name.c_str(), flags));
    if (!fd && errno == EINVAL) { // before Linux 6.3
        flags &= ~MFD_NOEXEC_SEAL;
        fd = UniqueFd(memfd_create(name.c_str(), flags));
    }
    if (fd)
        return fd;
    const int error = errno;
    auto failed = fail_errno(what(ram, "creating a memfd"), error);
    if (ram.memfd_hugetlb && (error == ENODEV || error == EINVAL || error == ENOSYS))
        failed.error().hint = "this kernel has no huge pages of that size: see "
                              "/sys/kernel/mm/hugepages";
    return failed;
}

/// A file without a name in the directory; hugetlbfs of old kernels knows no O_TMPFILE.
Result<UniqueFd> make_unlinked(const RamFile& ram)
{
    UniqueFd fd(open(ram.directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600));
    if (fd)
        return fd;
    if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) {
        std::string name = ram.directory + "/drover-ram.XXXXXX";
        fd = UniqueFd(mkostemp(name.data(), O_CLOEXEC));
        if (fd) {
            unlink(name.c_str());
            return fd;
        }
    }
    return fail_errno(what(ram, "creating a file in " + ram.directory), errno);
}

Result<UniqueFd> open_users_file(const RamFile& ram)
{
    UniqueFd fd(open(ram.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd)
        return fail_errno(what(ram, "opening " + ram.path), errno);
    // An incoming guest's RAM is emptied first: it must not be another's. Where the file system
    // knows no locks there is no telling.
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (fcntl(fd.get(), F_OFD_SETLK, &whole) < 0 && (errno == EAGAIN || errno == EACCES))
        return fail(ErrorKind::Refused, what(ram, ram.path + " is the memory of another guest"),
                    "give each side of a migration a file of its own, also on one host");
    return fd;
}

/// Mapping a file of huge pages reserves them; with too few, QEMU would die at start, and say less.
Status reserve_huge_pages(const RamFile& ram, int fd, uint64_t size, uint64_t page)
{
    void* mapping = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED) {
        auto failed = fail_errno(what(ram, "reserving huge pages for it"), errno);
        failed.error().hint = std::to_string(size / page) + " free ones of " +
                              std::to_string(page >> 10) +
                              " KiB are needed: sysctl "
                              "vm.nr_hugepages, or /sys/kernel/mm/hugepages";
        return failed;
    }
    munmap(mapping, size);
    return {};
}

Status set_size(const RamFile& ram, int fd)
{
    auto page = backing_page_size(fd);
    if (!page)
        return pass(page);
    if (ram.size > INT64_MAX - *page)
        return fail(ErrorKind::Invalid, what(ram, "its size is beyond what a file can have"));
    const uint64_t wanted = (ram.size + *page - 1) / *page * *page;
    const off_t present = lseek(fd, 0, SEEK_END);
    // A user's file keeps what it has, as under QEMU.
    const bool enough = present >= 0 && static_cast<uint64_t>(present) >= wanted;
    if (!enough && ftruncate(fd, static_cast<off_t>(wanted)) < 0)
        return fail_errno(what(ram, "setting its size to " + std::to_string(wanted)), errno);
    if (*page > 4096)
        return reserve_huge_pages(ram, fd, wanted, *page);
    return {};
}

} // namespace

Result<uint64_t> backing_page_size(int fd)
{
    struct statfs info {};
    int rc = 0;
    do
        rc = fstatfs(fd, &info);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return fail_errno("asking for a RAM file's page size", errno);
    if (info.f_type == HUGETLBFS_MAGIC && info.f_bsize > 0)
        return static_cast<uint64_t>(info.f_bsize);
    return 4096;
}

Result<UniqueFd> create_ram_file(const RamFile& ram)
{
    auto file = !ram.path.empty()        ? open_users_file(ram)
                : !ram.directory.empty() ? make_unlinked(ram)
                                         : make_memfd(ram);
    if (!file)
        return file;
    if (auto status = set_size(ram, file->get()); !status)
        return pass(status);
    // A QEMU that its guest has taken over cannot shrink it under us (SIGBUS), and what exports
    // guest memory as a DMA buffer (virtio-gpu's blobs) wants to be sure of that too. Files with a
    // name know no seals.
    if (ram.path.empty() && ram.directory.empty())
        (void)fcntl(file->get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    return file;
}

Result<RamBlock> create_ram_block(const RamFile& ram)
{
    auto file = create_ram_file(ram);
    if (!file)
        return pass(file);
    auto page = backing_page_size(file->get());
    if (!page)
        return pass(page);
    RamBlock block;
    block.name = ram.id;
    block.size = (ram.size + ram_page_size - 1) / ram_page_size * ram_page_size;
    block.backing_page = *page;
    block.file = std::move(*file);
    return block;
}

} // namespace drover::qemu
