// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/state_pipe.h"

#include "util/byte_sink.h"

#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::xen {

namespace {

// LIBXL_DEVICE_MODEL_RESTORE_FILE of libxl, which opens it and removes it.
constexpr std::string_view xl_state_file = "/var/lib/xen/qemu-resume.";
constexpr std::string_view own_pipe = "/var/run/xen/drover-resume.";

} // namespace

/// A link, so that one that is left over by our death hangs nobody after the host's next start: it
/// then leads to a plain file.
Result<std::unique_ptr<StatePipe>> StatePipe::make(uint32_t domain)
{
    const std::string number = std::to_string(domain);
    std::unique_ptr<StatePipe> made(
        new StatePipe(std::string(xl_state_file) + number, std::string(own_pipe) + number));
    made->remove_names();
    if (mkfifo(made->pipe_.c_str(), S_IRUSR | S_IWUSR) < 0)
        return fail_errno("making " + made->pipe_, errno);
    // For both ways: xl, which opens it for reading, does not wait then.
    made->fd_ = UniqueFd(open(made->pipe_.c_str(), O_RDWR | O_CLOEXEC));
    if (!made->fd_)
        return fail_errno("opening " + made->pipe_, errno);
    if (symlink(made->pipe_.c_str(), made->file_.c_str()) < 0)
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
    if (length > 0 && std::string_view(target.data(), static_cast<size_t>(length)) == pipe_)
        unlink(file_.c_str());
    unlink(pipe_.c_str());
}

Status StatePipe::has_reader()
{
    UniqueFd end(open(pipe_.c_str(), O_WRONLY | O_CLOEXEC));
    if (!end)
        return fail_errno("opening " + pipe_, errno);
    fd_ = std::move(end);
    unlink(pipe_.c_str()); // and xl the other: it insists on it
    return {};
}

Status StatePipe::write(std::span<const std::byte> state)
{
    ByteSink sink(fd_.get(), "the device model's state");
    sink.write(state);
    Status written = sink.flush();
    fd_.reset();
    return written;
}

} // namespace drover::xen
