// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/state_pipe.h"

#include "util/byte_sink.h"

#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace drover::xen {

namespace {

// LIBXL_DEVICE_MODEL_RESTORE_FILE of libxl, which opens it and removes it.
constexpr std::string_view xl_state_file = "/var/lib/xen/qemu-resume.";
constexpr std::string_view own_link = "/var/run/xen/drover-resume.";

} // namespace

/// By way of /proc, so that xl finds nothing, and does not wait for a writer, if we die before. And
/// by way of /run, so that a link that is left over then is none after the host's next start: xl
/// makes a file where it leads to.
Result<std::unique_ptr<StatePipe>> StatePipe::make(uint32_t domain)
{
    const std::string number = std::to_string(domain);
    std::unique_ptr<StatePipe> made(
        new StatePipe(std::string(xl_state_file) + number, std::string(own_link) + number));
    made->remove_names();
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail_errno("making a pipe", errno);
    made->reader_ = UniqueFd(ends[0]);
    made->writer_ = UniqueFd(ends[1]);
    const std::string pipe = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(ends[1]);
    if (symlink(pipe.c_str(), made->link_.c_str()) < 0)
        return fail_errno("making " + made->link_, errno);
    if (symlink(made->link_.c_str(), made->file_.c_str()) < 0)
        return fail_errno("making " + made->file_, errno);
    return made;
}

StatePipe::~StatePipe()
{
    remove_names();
}

/// Of what is in xl's place only our link.
void StatePipe::remove_names()
{
    std::array<char, PATH_MAX> target{};
    const ssize_t length = readlink(file_.c_str(), target.data(), target.size());
    if (length > 0 && std::string_view(target.data(), static_cast<size_t>(length)) == link_)
        unlink(file_.c_str());
    unlink(link_.c_str());
}

void StatePipe::has_reader()
{
    reader_.reset();
    unlink(link_.c_str()); // and xl the other: it insists on it
}

Status StatePipe::write(std::span<const std::byte> state)
{
    ByteSink sink(writer_.get(), "the device model's state");
    sink.write(state);
    Status written = sink.flush();
    writer_.reset();
    return written;
}

} // namespace drover::xen
