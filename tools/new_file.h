// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/byte_sink.h"
#include "util/fd.h"

#include <memory>

namespace drover::tools {

/// A file that has its name once it is whole: until then, and if nothing comes of it, nobody
/// finds half of one.
class NewFile {
public:
    explicit NewFile(std::string path);
    ~NewFile();
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;

    [[nodiscard]] Status open();
    /// Of the open file.
    [[nodiscard]] ByteSink& sink() { return *sink_; }
    /// It is on the disk, and has its name.
    [[nodiscard]] Status finish();

private:
    std::string path_;
    std::string part_;
    UniqueFd fd_;
    std::unique_ptr<ByteSink> sink_;
};

} // namespace drover::tools
