// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/byte_source.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover {

namespace {

constexpr uint64_t longest_state_text = 64 << 10;

std::unexpected<Error> too_short(uint64_t at)
{
    return fail(ErrorKind::Protocol,
                "it ends where more has to come, at byte " + std::to_string(at), "was it cut off?");
}

} // namespace

Result<FileBytes> FileBytes::open(const std::string& path)
{
    return of(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)), path);
}

Result<FileBytes> FileBytes::of(UniqueFd fd, const std::string& name)
{
    struct stat info = {};
    if (!fd || fstat(fd.get(), &info) != 0)
        return fail_errno("opening " + name, errno);
    if (!S_ISREG(info.st_mode))
        return fail(ErrorKind::Invalid, name + " is no regular file",
                    "what is inspected is read here and there: save it to a file first");
    return FileBytes(std::move(fd), static_cast<uint64_t>(info.st_size), name);
}

Status FileBytes::read(uint64_t at, std::span<std::byte> target) const
{
    size_t done = 0;
    while (done < target.size()) {
        const ssize_t n = pread(fd_.get(), target.data() + done, target.size() - done,
                                static_cast<off_t>(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno("reading " + path_, errno);
        if (n == 0)
            return too_short(at + done);
        done += static_cast<size_t>(n);
    }
    return {};
}

Status MemoryBytes::read(uint64_t at, std::span<std::byte> target) const
{
    if (at > bytes_.size() || target.size() > bytes_.size() - at)
        return too_short(bytes_.size());
    std::ranges::copy(bytes_.subspan(at, target.size()), target.begin());
    return {};
}

void ByteCursor::skip(uint64_t bytes)
{
    const uint64_t left = at_ < source_.size() ? source_.size() - at_ : 0;
    if (!status_)
        return;
    if (bytes > left)
        status_ = too_short(source_.size());
    else
        at_ += bytes;
}

bool ByteCursor::read(std::span<std::byte> target)
{
    if (status_)
        status_ = source_.read(at_, target);
    if (status_)
        at_ += target.size();
    return status_.has_value();
}

uint64_t ByteCursor::integer(unsigned bytes)
{
    std::array<std::byte, sizeof(uint64_t)> raw = {};
    const auto wanted = std::span(raw).first(bytes);
    if (!read(wanted))
        return 0;
    uint64_t value = 0;
    for (const std::byte byte : wanted)
        value = value << 8 | std::to_integer<uint64_t>(byte);
    return value;
}

std::string ByteCursor::text(uint64_t bytes)
{
    if (status_ && bytes > longest_state_text)
        status_ = fail(ErrorKind::Protocol, "a text of " + std::to_string(bytes) +
                                                " bytes at byte " + std::to_string(at_));
    std::string result(status_ ? bytes : 0, '\0');
    return read(std::as_writable_bytes(std::span(result))) ? result : std::string();
}

std::string ByteCursor::short_text()
{
    return text(integer(1));
}

int ByteCursor::peek() const
{
    std::byte next = {};
    if (!status_ || !source_.read(at_, std::span(&next, 1)))
        return -1;
    return std::to_integer<int>(next);
}

} // namespace drover
