// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace drover {

/// Bytes that follow each other into a file, a pipe or a socket that may block, in large pieces; or
/// into memory.
/// Once writing has failed nothing more is written, and status() says why. One thread.
class ByteSink {
public:
    /// The descriptor stays the caller's; `name` is for errors.
    ByteSink(int fd, std::string name);
    /// Into memory, of which take() hands out what was written; `room` bytes are there at once.
    explicit ByteSink(size_t room = 0) { held_.reserve(room); }
    [[nodiscard]] std::vector<std::byte> take() { return std::move(held_); }

    void write(std::span<const std::byte> bytes);
    void write_text(std::string_view text);
    /// The last `bytes` bytes of a number, 1 to 8, the most significant first.
    void big_endian(unsigned bytes, uint64_t value);
    void little_endian(unsigned bytes, uint64_t value);
    /// Bytes written so far.
    [[nodiscard]] uint64_t at() const { return at_; }
    [[nodiscard]] const Status& status() const { return status_; }
    /// Writes what is held back. Nothing else does.
    [[nodiscard]] Status flush();

private:
    int fd_ = -1; ///< -1: into memory
    std::string name_;
    std::vector<std::byte> held_;
    uint64_t at_ = 0;
    Status status_;
};

} // namespace drover
