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

/// A bare name: beside ourselves first (a build that is not installed), then the search path.
std::string resolve(const std::string& name)
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
    EmulatorStart process;
    process.words = command_line(emulator, config, start, record, listener->get());
    process.log = record.directory + "/emulator.log";
    process.listener = listener->get();
    process.directory = record.directory;
    process.cgroups = start.cgroups;
    process.environment = {std::string(vm_environment) + "=" + record.directory};
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

Result<std::string> find_emulator(const DroverdConfig& config, const VmDefinition& definition)
{
    std::string wanted = definition.emulator;
    if (wanted.empty())
        wanted = definition.kind == VmKind::Qemu ? "qemu-system-x86_64" : "drover-system-x86_64";
    std::string allowed;
    for (const std::string& emulator : config.emulators) {
        const std::string path = resolve(emulator);
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
