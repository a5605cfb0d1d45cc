// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/new_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace drover::tools {

NewFile::NewFile(std::string path) : path_(std::move(path)), part_(path_ + ".part") {}

NewFile::~NewFile()
{
    if (fd_)
        unlink(part_.c_str());
}

Status NewFile::open()
{
    fd_ = UniqueFd(::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd_)
        return fail_errno("making " + part_, errno);
    sink_ = std::make_unique<ByteSink>(fd_.get(), part_);
    return {};
}

Status NewFile::finish()
{
    if (Status flushed = sink_->flush(); !flushed)
        return flushed;
    if (fsync(fd_.get()) != 0 || rename(part_.c_str(), path_.c_str()) != 0)
        return fail_errno("writing " + path_, errno);
    fd_.reset();
    return {};
}

} // namespace drover::tools
