// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/default_memory.h"

#include "monitor/json.h"
#include "util/clock.h"
#include "util/fd.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace drover::qemu {

namespace {

constexpr int time_limit_ms = 10'000;
constexpr size_t most_bytes = 1 << 20;
constexpr std::string_view questions = R"({"execute":"qmp_capabilities"}
{"execute":"query-memory-size-summary"}
{"execute":"quit"}
)";

struct Ends {
    UniqueFd reading;
    UniqueFd writing;
};

std::optional<Ends> ends_of_a_pipe()
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return std::nullopt;
    return Ends{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

/// QEMU with QMP on these descriptors, its other words going nowhere.
std::optional<pid_t> spawn(const std::string& binary, const std::string& machine, int in, int out)
{
    std::vector<std::string> words = {binary,     "-S",   "-nodefaults", "-no-user-config",
                                      "-display", "none", "-monitor",    "none",
                                      "-qmp",     "stdio"};
    if (!machine.empty())
        words.insert(words.end(), {"-machine", machine});
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid = -1;
    const int error = posix_spawn(&pid, binary.c_str(), &files, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    return error == 0 ? std::optional(pid) : std::nullopt;
}

/// All that comes until the end, or until the time is up.
std::string read_to_end(int fd)
{
    const TimePoint start = Clock::now();
    std::string text;
    while (text.size() < most_bytes) {
        const int left = time_limit_ms - static_cast<int>(milliseconds_since(start));
        pollfd waiting{.fd = fd, .events = POLLIN};
        const int ready = left > 0 ? poll(&waiting, 1, left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        char buffer[4096];
        const ssize_t n = ready > 0 ? read(fd, buffer, sizeof buffer) : 0;
        if (n <= 0)
            break;
        text.append(buffer, static_cast<size_t>(n));
    }
    return text;
}

std::optional<uint64_t> find_size(std::string_view text)
{
    for (size_t start = 0; start < text.size();) {
        const size_t end = std::min(text.find('\n', start), text.size());
        const Json line = Json::parse(text.substr(start, end - start), nullptr, false);
        start = end + 1;
        if (!line.is_object() || !line.contains("return") || !line["return"].is_object())
            continue;
        if (const uint64_t size = json_u64(line["return"], "base-memory"); size > 0)
            return size;
    }
    return std::nullopt;
}

} // namespace

std::optional<uint64_t> ask_default_memory(const std::string& binary, const std::string& machine)
{
    auto in = ends_of_a_pipe();
    auto out = ends_of_a_pipe();
    if (!in || !out ||
        write(in->writing.get(), questions.data(), questions.size()) !=
            static_cast<ssize_t>(questions.size()))
        return std::nullopt;
    const auto pid = spawn(binary, machine, in->reading.get(), out->writing.get());
    in->reading.reset();
    out->writing.reset();
    if (!pid)
        return std::nullopt;
    const std::string text = read_to_end(out->reading.get());
    kill(*pid, SIGKILL);
    while (waitpid(*pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return find_size(text);
}

} // namespace drover::qemu
