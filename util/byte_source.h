// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace drover {

/// Bytes at places, such as those of a file that is too large to be held. Any thread.
class ByteSource {
public:
    virtual ~ByteSource() = default;
    [[nodiscard]] virtual uint64_t size() const = 0; ///< bytes
    /// Fills all of `target`, or fails: nothing is there beyond size().
    [[nodiscard]] virtual Status read(uint64_t at, std::span<std::byte> target) const = 0;
    /// All of them, where they lie in memory and stay as long as this does; nothing elsewhere.
    [[nodiscard]] virtual std::span<const std::byte> held() const { return {}; }
};

/// Of a regular file, which is read where it is asked for.
class FileBytes : public ByteSource {
public:
    [[nodiscard]] static Result<FileBytes> open(const std::string& path);
    /// Of one that is open; `name` is for errors.
    [[nodiscard]] static Result<FileBytes> of(UniqueFd fd, const std::string& name);
    [[nodiscard]] uint64_t size() const override { return size_; }
    [[nodiscard]] Status read(uint64_t at, std::span<std::byte> target) const override;

private:
    FileBytes(UniqueFd fd, uint64_t size, std::string path)
        : fd_(std::move(fd)), size_(size), path_(std::move(path))
    {
    }
    UniqueFd fd_;
    uint64_t size_;
    std::string path_;
};

/// Of memory that must outlive this.
class MemoryBytes : public ByteSource {
public:
    explicit MemoryBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
    [[nodiscard]] uint64_t size() const override { return bytes_.size(); }
    [[nodiscard]] std::span<const std::byte> held() const override { return bytes_; }
    [[nodiscard]] Status read(uint64_t at, std::span<std::byte> target) const override;

private:
    std::span<const std::byte> bytes_;
};

/// Takes big-endian integers and texts from a source, one after another. Once something was not
/// there all that is taken is zero or empty: status() tells, and is to be asked before what was
/// taken is trusted, and in each turn of a loop.
class ByteCursor {
public:
    ByteCursor(const ByteSource& source, uint64_t at) : source_(source), at_(at) {}

    [[nodiscard]] uint64_t at() const { return at_; }
    /// Of kind Protocol, and where; the first that went wrong.
    [[nodiscard]] const Status& status() const { return status_; }
    void skip(uint64_t bytes);
    [[nodiscard]] uint64_t integer(unsigned bytes); ///< 1 to 8
    [[nodiscard]] std::string text(uint64_t bytes); ///< at most 64 KiB
    /// A text whose length stands before it, in a byte.
    [[nodiscard]] std::string short_text();
    /// The next byte, which stays; -1 at the end.
    [[nodiscard]] int peek() const;

private:
    bool read(std::span<std::byte> target);

    const ByteSource& source_;
    uint64_t at_;
    Status status_;
};

} // namespace drover
