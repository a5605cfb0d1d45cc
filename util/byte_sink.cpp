// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/byte_sink.h"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace drover {

namespace {

constexpr size_t held_bytes = 1U << 20;

} // namespace

ByteSink::ByteSink(int fd, std::string name) : fd_(fd), name_(std::move(name))
{
    held_.reserve(held_bytes);
}

void ByteSink::write(std::span<const std::byte> bytes)
{
    at_ += bytes.size();
    if (fd_ >= 0 && held_.size() + bytes.size() > held_bytes && !flush())
        return;
    held_.insert(held_.end(), bytes.begin(), bytes.end());
}

void ByteSink::write_text(std::string_view text)
{
    write(std::as_bytes(std::span(text)));
}

void ByteSink::big_endian(unsigned bytes, uint64_t value)
{
    std::array<std::byte, sizeof value> raw = {};
    for (unsigned i = 0; i < bytes; ++i)
        raw[bytes - 1 - i] = static_cast<std::byte>(value >> (8 * i));
    write(std::span(raw).first(bytes));
}

void ByteSink::little_endian(unsigned bytes, uint64_t value)
{
    std::array<std::byte, sizeof value> raw = {};
    for (unsigned i = 0; i < bytes; ++i)
        raw[i] = static_cast<std::byte>(value >> (8 * i));
    write(std::span(raw).first(bytes));
}

Status ByteSink::flush()
{
    if (fd_ < 0)
        return status_;
    size_t done = 0;
    while (status_ && done < held_.size()) {
        const ssize_t n = ::write(fd_, held_.data() + done, held_.size() - done);
        if (n < 0 && errno != EINTR)
            status_ = fail_errno("writing " + name_, errno);
        done += n > 0 ? static_cast<size_t>(n) : 0;
    }
    held_.clear();
    return status_;
}

} // namespace drover
