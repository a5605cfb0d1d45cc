// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/form_key.h"

#include "util/fd.h"

#include <cerrno>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/utsname.h>

namespace drover::qemu {

namespace {

/// Another one where a form is learnt, or its key made, in another way.
constexpr const char* form_key_version = "1";

/// Of a description (layout.h, qemu_describe.cpp): what does not change from start to start.
constexpr const char* lasting_members[] = {
    "version",  "arch",         "machine", "accelerator", "cpu_model", "cpus", "cpu",
    "topology", "cpu_features", "devices", "own_memory",  "dimms",     "pci"};

constexpr size_t longest_maps = 16U << 20;
constexpr std::string_view gone_mark = " (deleted)";

std::string time_text(const timespec& time)
{
    return std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
}

Result<std::string> file_identity(const std::string& path)
{
    struct stat file {};
    if (stat(path.c_str(), &file) != 0)
        return fail_errno("looking at " + path, errno);
    return path + " " + std::to_string(file.st_ino) + " " + std::to_string(file.st_size) + " " +
           time_text(file.st_mtim) + " " + time_text(file.st_ctim);
}

bool is_same_file(const std::string& a, const std::string& b)
{
    struct stat first {};
    struct stat second {};
    return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

std::string kernel_identity()
{
    utsname name{};
    if (uname(&name) != 0)
        return {};
    return std::string(name.release) + " " + name.version;
}

} // namespace

Result<std::vector<std::string>> program_files(const std::string& maps)
{
    std::set<std::string> files;
    std::istringstream lines(maps);
    for (std::string line; std::getline(lines, line);) {
        // "55d0c0a00000-55d0c0b00000 r-xp 00000000 08:01 1234    /usr/bin/program"
        const size_t mode = line.find(' ');
        const size_t path = line.find('/');
        if (path == std::string::npos || mode + 3 >= line.size() || line[mode + 3] != 'x' ||
            line.compare(path, 7, "/memfd:") == 0) // what TCG has made, say
            continue;
        if (line.ends_with(gone_mark))
            return fail(ErrorKind::Refused,
                        line.substr(path) + ": it was replaced since the start");
        files.insert(line.substr(path));
    }
    return std::vector<std::string>(files.begin(), files.end());
}

Result<std::string> form_key(const std::vector<std::string>& blank_command, pid_t qemu,
                             const Json& description)
{
    const std::string process = "/proc/" + std::to_string(qemu);
    if (blank_command.empty() || !is_same_file(blank_command.front(), process + "/exe"))
        return fail(ErrorKind::Refused, "QEMU is another program than would be started now");
    auto maps = read_file(process + "/maps", longest_maps);
    auto files = maps ? program_files(*maps) : pass(maps);
    if (!files)
        return pass(files);
    std::string key = form_key_version;
    const auto add = [&key](const std::string& part) { key += '\0' + part; };
    for (const std::string& file : *files) {
        auto identity = file_identity(file);
        if (!identity)
            return identity;
        add(*identity);
    }
    add(kernel_identity());
    for (const std::string& word : blank_command)
        add(word);
    for (const char* member : lasting_members)
        add(std::string(member) + "=" + dump_json(description.value(member, Json())));
    return key;
}

} // namespace drover::qemu
