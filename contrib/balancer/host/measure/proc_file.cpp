// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/proc_file.h"

#include "contrib/balancer/host/measure/words.h"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace drover::balancer::measure {

namespace {

constexpr size_t first_size = 16 << 10;
constexpr size_t max_size = 4 << 20;

} // namespace

ProcFile::ProcFile(int dir, const char* name)
    : fd_(openat(dir, name, O_RDONLY | O_CLOEXEC)), one_piece_(true)
{
}

std::optional<std::string_view> ProcFile::read(ReadBuffer& buffer)
{
    if (!fd_ && !path_.empty())
        fd_ = UniqueFd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd_)
        return std::nullopt;
    if (buffer.size() < first_size)
        buffer.resize(first_size);
    size_t size = 0;
    while (true) {
        if (size == buffer.size() && buffer.size() >= max_size)
            return std::nullopt;
        if (size == buffer.size())
            buffer.resize(buffer.size() * 2);
        const ssize_t n =
            pread(fd_.get(), buffer.data() + size, buffer.size() - size, static_cast<off_t>(size));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fd_.reset();
            return std::nullopt;
        }
        size += static_cast<size_t>(n);
        if (n == 0 || (one_piece_ && size < buffer.size()))
            return std::string_view(buffer.data(), size);
    }
}

std::vector<int> numbered_entries(int at, const char* dir)
{
    std::vector<int> numbers;
    const int fd = openat(at, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return numbers;
    const std::unique_ptr<DIR, int (*)(DIR*)> list(fdopendir(fd), closedir);
    if (!list) {
        close(fd);
        return numbers;
    }
    while (const dirent* entry = readdir(list.get())) {
        if (const auto number = to_number<int>(entry->d_name); number && *number > 0)
            numbers.push_back(*number);
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

} // namespace drover::balancer::measure
