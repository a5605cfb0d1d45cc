// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/vm_start.h"

#include "contrib/balancer/host/taps.h"
#include "monitor/endpoint_socket.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <glib.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

std::vector<std::string> command_line(const std::string& emulator, const DroverdConfig& config,
                                      const VmStart& start, const VmRecord& record, int listener)
{
    std::vector<std::string> words = {emulator};
    for (const std::string& word : record.definition.command)
        words.push_back(expand(word, config.name, record.directory));
    const std::string fd = std::to_string(listener);
    words.insert(words.end(), {"-name", record.definition.name, "-chardev",
                               "socket,id=droverd,server=on,wait=off,fd=" + fd, "-mon",
                               "chardev=droverd,mode=control"});
    if (start.incoming)
        words.insert(words.end(), {"-incoming", "defer"});
    if (start.held)
        words.emplace_back("-S");
    return words;
}

/// What drover-xen is to do, by its verbs. Its monitor is a path: it makes it itself.
std::vector<std::string> xen_command_line(const std::string& program, const VmStart& start,
                                          const VmRecord& record)
{
    const VmDefinition& guest = record.definition;
    std::vector<std::string> words = {program};
    if (start.is_there)
        words.insert(words.end(), {"serve", guest.name});
    else if (start.incoming)
        words.insert(words.end(),
                     {"incoming", "defer", "-config", guest.xen_config, "-name", guest.name});
    else
        words.insert(words.end(), {"create", guest.xen_config, "-name", guest.name});
    std::string socket;
    for (const char c : record.socket)
        socket += c == ',' ? std::string(",,") : std::string(1, c);
    words.insert(words.end(), {"-qmp", "unix:" + socket + ",server=on,wait=off"});
    return words;
}

EmulatorStart process_of(const VmRecord& record, std::vector<std::string> words)
{
    EmulatorStart process;
    process.words = std::move(words);
    process.log = record.directory + "/emulator.log";
    process.directory = record.directory;
    process.environment = {std::string(vm_environment) + "=" + record.directory};
    return process;
}

/// No slice bounds it: the guest is no process.
Status launch_xen(const VmStart& start, VmRecord& record, const std::string& program)
{
    unlink(record.socket.c_str()); // of one that was killed
    auto id = start_emulator(process_of(record, xen_command_line(program, start, record)));
    if (!id)
        return std::unexpected(std::move(id.error()));
    record.process = *id;
    return {};
}

Status launch(const DroverdConfig& config, const VmStart& start, VmRecord& record,
              const std::string& emulator)
{
    MonitorEndpoint endpoint;
    endpoint.kind = MonitorEndpoint::Kind::UnixListen;
    endpoint.path = record.socket;
    auto socket = listen_on_endpoint(endpoint);
    if (!socket)
        return std::unexpected(std::move(socket.error()));
    // The file stays when our descriptor goes: the emulator listens there.
    auto listener = socket->fd.duplicate();
    if (!listener)
        return std::unexpected(std::move(listener.error()));
    if (const Status blocking = set_nonblocking(listener->get(), false); !blocking)
        return blocking;
    EmulatorStart process =
        process_of(record, command_line(emulator, config, start, record, listener->get()));
    process.listener = listener->get();
    process.cgroups = start.cgroups;
    auto id = start_emulator(process);
    if (!id)
        return std::unexpected(std::move(id.error()));
    socket->file.keep();
    record.process = *id;
    return {};
}

bool has_environment(pid_t pid, const std::string& entry)
{
    const auto text = read_file("/proc/" + std::to_string(pid) + "/environ");
    if (!text)
        return false;
    size_t at = 0;
    while (at < text->size()) {
        const size_t end = std::min(text->find('\0', at), text->size());
        if (std::string_view(*text).substr(at, end - at) == entry)
            return true;
        at = end + 1;
    }
    return false;
}

} // namespace

/// A bare name: beside ourselves first (a build that is not installed), then the search path.
std::string find_program(const std::string& name)
{
    if (name.find('/') != std::string::npos)
        return name;
    std::error_code error;
    const auto own = std::filesystem::read_symlink("/proc/self/exe", error);
    std::string beside = (own.parent_path() / name).string();
    if (!error && access(beside.c_str(), X_OK) == 0)
        return beside;
    char* found = g_find_program_in_path(name.c_str());
    std::string path = found != nullptr ? found : "";
    g_free(found);
    return path;
}

Result<std::string> find_emulator(const DroverdConfig& config, const VmDefinition& definition)
{
    if (definition.kind == VmKind::Xen) {
        if (std::string program = find_program("drover-xen"); !program.empty())
            return program;
        return fail(ErrorKind::Refused, "this host has no drover-xen", "it is no Xen host");
    }
    std::string wanted = definition.emulator;
    if (wanted.empty())
        wanted = definition.kind == VmKind::Qemu ? "qemu-system-x86_64" : "drover-system-x86_64";
    std::string allowed;
    for (const std::string& emulator : config.emulators) {
        const std::string path = find_program(emulator);
        if (!path.empty() && (wanted == emulator || wanted == path))
            return path;
        allowed += (allowed.empty() ? "" : ", ") + emulator + (path.empty() ? " (not found)" : "");
    }
    return fail(ErrorKind::Refused, "this host starts no emulator " + wanted,
                "it has " + allowed + " (\"emulators\" in its configuration)");
}

Status start_vm(const DroverdConfig& config, const VmStart& start, VmRecord& record)
{
    const auto emulator = find_emulator(config, record.definition);
    if (!emulator)
        return std::unexpected(emulator.error());
    if (record.definition.kind == VmKind::Xen) // whose interfaces xl makes
        return launch_xen(start, record, *emulator);
    if (const Status made = make_taps(record.definition); !made)
        return made;
    const Status started = launch(config, start, record, *emulator);
    if (!started)
        remove_taps(record.definition);
    return started;
}

std::optional<ProcessId> find_started(const std::string& directory)
{
    const std::string entry = std::string(vm_environment) + "=" + directory;
    std::optional<ProcessId> oldest; // an emulator's children have the variable too
    std::error_code error;
    for (const auto& file : std::filesystem::directory_iterator("/proc", error)) {
        const std::string name = file.path().filename().string();
        pid_t pid = 0;
        const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (bad != std::errc() || end != name.data() + name.size() || !has_environment(pid, entry))
            continue;
        const auto id = process_id(pid);
        if (id && (!oldest || id->start_time < oldest->start_time ||
                   (id->start_time == oldest->start_time && id->pid < oldest->pid)))
            oldest = id;
    }
    return oldest;
}

} // namespace drover::balancer
