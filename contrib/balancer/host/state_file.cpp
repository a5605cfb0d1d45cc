// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/state_file.h"

#include "util/fd.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <glib.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

constexpr std::string_view suffix = ".json";

Status write_all(int fd, std::string_view bytes, const std::string& path)
{
    while (!bytes.empty()) {
        const ssize_t written = write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail_errno("writing " + path, errno);
        bytes.remove_prefix(static_cast<size_t>(written));
    }
    if (fsync(fd) != 0)
        return fail_errno("syncing " + path, errno);
    return {};
}

Status sync_directory(const std::string& directory)
{
    const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || fsync(fd.get()) != 0)
        return fail_errno("syncing " + directory, errno);
    return {};
}

} // namespace

Status save_state(const std::string& path, const Json& state)
{
    const std::string temporary = path + ".new";
    const UniqueFd fd(
        open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd)
        return fail_errno("creating " + temporary, errno);
    if (const Status written = write_all(fd.get(), dump_json(state, true) + "\n", temporary);
        !written)
        return written;
    if (rename(temporary.c_str(), path.c_str()) != 0)
        return fail_errno("renaming " + temporary + " to " + path, errno);
    return sync_directory(std::filesystem::path(path).parent_path().string());
}

Result<Json> load_state(const std::string& path)
{
    auto text = read_file(path);
    if (!text)
        return pass(text);
    auto json = parse_json(*text);
    if (!json)
        return std::unexpected(std::move(json.error()).in(path));
    return json;
}

void remove_state(const std::string& path)
{
    unlink(path.c_str());
}

std::vector<std::string> list_states(const std::string& directory)
{
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        std::string name = entry.path().filename().string();
        if (!name.ends_with(suffix))
            continue;
        name.resize(name.size() - suffix.size());
        names.push_back(std::move(name));
    }
    std::sort(names.begin(), names.end());
    return names;
}

Status make_directories(const std::string& path)
{
    if (g_mkdir_with_parents(path.c_str(), 0700) != 0)
        return fail_errno("making the directory " + path, errno);
    return {};
}

} // namespace drover::balancer
