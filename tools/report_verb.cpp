// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/migration_picture.h"
#include "tools/verbs.h"
#include "util/log.h"

#include <cerrno>
#include <cstdio>
#include <fstream>

namespace drover::tools {

namespace {

constexpr size_t most_bytes = 64 << 20;

Result<std::string> draw_file(const std::string& path)
{
    std::ifstream file(path, std::ios::binary);
    std::string text(most_bytes + 1, '\0');
    if (!file)
        return fail_errno("opening " + path, errno);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.size() > most_bytes)
        return fail(ErrorKind::Invalid, path + " is larger than 64 MiB", "is it a report?");
    auto info = parse_json(text);
    if (!info)
        return std::unexpected(std::move(info.error()).in(path));
    auto picture = draw_migration(*info);
    if (!picture)
        return std::unexpected(std::move(picture.error()).in(path));
    return picture;
}

} // namespace

Result<int> run_report(Words words)
{
    if (words.empty())
        return fail(ErrorKind::Invalid, "a FILE is needed");
    const std::string path = words.take();
    if (!words.empty())
        return fail(ErrorKind::Invalid, "one FILE only");
    const auto picture = draw_file(path);
    if (!picture) {
        log::error(picture.error().text());
        return exit_failed;
    }
    fputs(picture->c_str(), stdout);
    return exit_done;
}

} // namespace drover::tools
