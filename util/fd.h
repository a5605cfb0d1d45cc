// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace drover {

/// Owns a file descriptor. Move-only; -1 is "none".
class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept;
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() { reset(); }

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    void reset();

    /// A second descriptor of the same open file, close-on-exec.
    [[nodiscard]] Result<UniqueFd> duplicate() const;

private:
    int fd_ = -1;
};

/// A connected pair of UNIX stream sockets, close-on-exec.
[[nodiscard]] Result<std::pair<UniqueFd, UniqueFd>> socket_pair();

[[nodiscard]] Status set_close_on_exec(int fd, bool on);
[[nodiscard]] Status set_nonblocking(int fd, bool on);

/// The descriptors that are open in this process, but for the three standard ones.
[[nodiscard]] std::set<int> open_descriptors();

/// Reads a whole (small) file, such as one of /proc. At most `limit` bytes.
[[nodiscard]] Result<std::string> read_file(const std::string& path, size_t limit = 1 << 20);

} // namespace drover
