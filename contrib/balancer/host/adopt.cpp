// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/adopt.h"

#include "monitor/endpoint_socket.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>
#include <sys/socket.h>

namespace drover::balancer {

namespace {

std::vector<std::string> split(const std::string& text, char separator)
{
    std::vector<std::string> parts;
    size_t at = 0;
    while (at <= text.size()) {
        const size_t end = std::min(text.find(separator, at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

/// Both spellings that QEMU takes: -name and --name.
std::string option_of(const std::string& word)
{
    return word.starts_with("--") ? word.substr(1) : word;
}

/// The value of `key` in "a=1,key=2"; the first word may stand for `implied`.
std::string value_of(const std::string& text, const std::string& key,
                     const std::string& implied = {})
{
    bool first = true;
    for (const std::string& part : split(text, ',')) {
        const size_t equals = part.find('=');
        if (equals == std::string::npos && std::exchange(first, false) && key == implied)
            return part;
        first = false;
        if (equals != std::string::npos && part.substr(0, equals) == key)
            return part.substr(equals + 1);
    }
    return {};
}

struct Option {
    std::string name;
    std::string value;
    bool has_value = false;
};

/// Words to options: the word after an option is its value unless it is an option itself.
std::vector<Option> options_of(const std::vector<std::string>& words)
{
    std::vector<Option> options;
    for (size_t i = 1; i < words.size(); ++i) {
        Option option{option_of(words[i]), {}, false};
        if (words[i].starts_with('-') && i + 1 < words.size() && !words[i + 1].starts_with('-')) {
            option.value = words[++i];
            option.has_value = true;
        }
        options.push_back(std::move(option));
    }
    return options;
}

bool is_monitor_at(const Option& option, const std::string& socket)
{
    return (option.name == "-qmp" || option.name == "-qmp-pretty") &&
           option.value.starts_with("unix:" + socket) &&
           (option.value.size() == socket.size() + 5 || option.value[socket.size() + 5] == ',');
}

std::string chardev_at(const std::vector<Option>& options, const std::string& socket)
{
    for (const Option& option : options)
        if (option.name == "-chardev" && value_of(option.value, "path") == socket)
            return value_of(option.value, "id");
    return {};
}

bool is_left_out(const Option& option, const std::string& socket, const std::string& chardev)
{
    // -S among them: who started it waited with it for a `cont` that has long been said. A
    // destination that had it would stand still where the guest arrives.
    static constexpr std::array own = {"-name", "-incoming", "-daemonize", "-pidfile", "-S"};
    if (std::find(own.begin(), own.end(), option.name) != own.end() ||
        is_monitor_at(option, socket))
        return true;
    if (chardev.empty())
        return false;
    return (option.name == "-chardev" && value_of(option.value, "id") == chardev) ||
           (option.name == "-mon" && value_of(option.value, "chardev", "chardev") == chardev);
}

bool uses_descriptor(const Option& option)
{
    return !value_of(option.value, "fd").empty() || !value_of(option.value, "fds").empty() ||
           option.name == "-add-fd";
}

void learn_nics(const std::vector<Option>& options, VmDefinition& definition)
{
    for (const Option& option : options) {
        if (option.name != "-netdev")
            continue;
        VmNic nic;
        nic.id = value_of(option.value, "id");
        if (option.value.starts_with("tap"))
            nic.ifname = value_of(option.value, "ifname");
        if (!nic.id.empty())
            definition.nics.push_back(std::move(nic));
    }
}

Result<ProcessId> listener_of(const std::string& socket)
{
    MonitorEndpoint endpoint;
    endpoint.kind = MonitorEndpoint::Kind::UnixConnect;
    endpoint.path = socket;
    const auto fd = connect_to_endpoint(endpoint);
    if (!fd)
        return std::unexpected(fd.error());
    ucred peer = {};
    socklen_t size = sizeof peer;
    if (getsockopt(fd->get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return fail_errno("asking who listens on " + socket, errno);
    const auto id = process_id(peer.pid);
    if (!id)
        return fail(ErrorKind::System,
                    "the process that listens on " + socket + " is not to be seen",
                    "droverd must run in the same PID namespace");
    return *id;
}

Result<std::vector<std::string>> command_line_of(pid_t pid)
{
    const auto line = read_file("/proc/" + std::to_string(pid) + "/cmdline");
    if (!line)
        return std::unexpected(line.error());
    std::vector<std::string> words = split(*line, '\0');
    if (!words.empty() && words.back().empty())
        words.pop_back();
    return words;
}

bool is_drover(const std::vector<std::string>& words)
{
    return !words.empty() &&
           std::filesystem::path(words.front()).filename().string().starts_with("drover-system");
}

/// As the user wrote it. Drover's process is a child of QEMU's, and keeps the words of both: those
/// of QEMU's process are what Drover made of them.
Result<std::vector<std::string>> users_command_line(pid_t pid)
{
    const std::string main_thread = std::to_string(pid);
    const auto children = read_file("/proc/" + main_thread + "/task/" + main_thread + "/children");
    std::istringstream numbers(children.value_or(""));
    for (pid_t child = 0; numbers >> child;)
        if (auto words = command_line_of(child); words && is_drover(*words))
            return words;
    return command_line_of(pid);
}

Json merged(Json definition, const Json& more)
{
    if (more.is_object())
        for (const auto& [key, value] : more.items())
            definition[key] = value;
    return definition;
}

} // namespace

Result<VmDefinition> definition_of(const std::vector<std::string>& words, const std::string& socket)
{
    if (words.empty())
        return fail(ErrorKind::Invalid, "the process has no command line");
    VmDefinition definition;
    const std::string program = std::filesystem::path(words.front()).filename().string();
    definition.emulator = program;
    definition.kind = is_drover(words) ? VmKind::Drover : VmKind::Qemu;
    const std::vector<Option> options = options_of(words);
    const std::string chardev = chardev_at(options, socket);
    for (const Option& option : options) {
        if (option.name == "-name")
            definition.name = value_of(option.value, "guest", "guest");
        if (is_left_out(option, socket, chardev))
            continue;
        if (uses_descriptor(option))
            return fail(ErrorKind::Refused,
                        "its command line uses an inherited descriptor: " + option.name + " " +
                            option.value,
                        "such a VM can only be moved by the program that started it");
        definition.command.push_back(option.name);
        if (option.has_value)
            definition.command.push_back(option.value);
    }
    learn_nics(options, definition);
    return definition;
}

Result<VmRecord> adopt_emulator(const std::string& socket, const Json& more)
{
    const auto process = listener_of(socket);
    if (!process)
        return std::unexpected(process.error());
    const auto words = users_command_line(process->pid);
    if (!words)
        return std::unexpected(words.error());
    auto found = definition_of(*words, socket);
    if (!found)
        return std::unexpected(std::move(found.error()));
    auto definition = vm_definition_from_json(merged(to_json(*found), more));
    if (!definition)
        return std::unexpected(std::move(definition.error()).in("adopting " + socket));
    VmRecord record;
    record.definition = std::move(*definition);
    record.process = *process;
    record.socket = socket;
    record.adopted = true;
    return record;
}

} // namespace drover::balancer
