// SPDX-License-Identifier: GPL-2.0-or-later
//
// What happens before QEMU runs, in the process that was started, and the start itself. All that
// can fail has to fail here: afterwards nobody but QEMU chooses that process's exit code.
#include "system/emulator.h"
#include "vmm/qemu/ram_file.h"
#include "vmm/qemu/tracker/handover.h"

#include <algorithm>
#include <sys/socket.h>
#include <sys/stat.h>

namespace drover {

namespace {

/// "DEV:INO,DEV:INO": how the preloaded library knows guest RAM when it sees it.
Result<std::string> file_ids(const std::vector<RamBlock>& ram)
{
    std::string ids;
    for (const RamBlock& block : ram) {
        struct stat file {};
        if (fstat(block.file.get(), &file) < 0)
            return fail_errno("looking at RAM block " + block.name, errno);
        char text[64];
        snprintf(text, sizeof text, "%s%llx:%llx", ids.empty() ? "" : ",",
                 static_cast<unsigned long long>(file.st_dev),
                 static_cast<unsigned long long>(file.st_ino));
        ids += text;
    }
    return ids;
}

std::string with_our_preload(const std::string& library)
{
    const char* users = getenv("LD_PRELOAD");
    return users && *users ? library + ":" + users : library;
}

} // namespace

struct Emulator::Links {
    UniqueFd engine_ours, engine_qemus;
    UniqueFd user_ours, user_qemus;
    UniqueFd tracker_qemus;
};

Status Emulator::start()
{
    if (Status made = create_ram(); !made)
        return made;
    if (Status opened = open_monitors(); !opened)
        return opened;
    auto links = make_links();
    if (!links)
        return pass(links);
    auto planned = plan_start(*links);
    if (!planned)
        return pass(planned);
    auto qemu = qemu::become_qemu(*planned);
    if (!qemu)
        return pass(qemu);
    // In the companion.
    process_ = std::make_unique<qemu::QemuProcess>(
        std::move(*qemu),
        [this](std::optional<qemu::ExitStatus> status, const std::string& last_words) {
            process_exited(status, last_words);
        });
    descriptors_.close_what_is_qemus();
    connect_monitors(*links);
    return {};
}

Status Emulator::create_ram()
{
    for (const qemu::RamFile& wanted : plan_.ram) {
        auto block = qemu::create_ram_block(wanted);
        if (!block)
            return pass(block);
        ram_.push_back(std::move(*block));
    }
    return {};
}

/// They listen from now on; clients wait until QEMU is there. It is the process that was started
/// that calls listen(): whoever asks who listens there is told of the guest's.
Status Emulator::open_monitors()
{
    for (const MonitorEndpoint& endpoint : plan_.monitors) {
        auto opened = open_monitor(endpoint);
        if (!opened)
            return pass(opened);
        monitors_.push_back(std::move(*opened));
    }
    return {};
}

Result<Emulator::Links> Emulator::make_links()
{
    auto engine = socket_pair();
    auto user = socket_pair();
    if (!engine || !user)
        return engine ? pass(user) : pass(engine);
    Links links;
    links.engine_ours = std::move(engine->first);
    links.engine_qemus = std::move(engine->second);
    links.user_ours = std::move(user->first);
    links.user_qemus = std::move(user->second);
    int tracker[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, tracker) < 0)
        return fail_errno("making a socket pair", errno);
    tracker_socket_ = UniqueFd(tracker[0]);
    links.tracker_qemus = UniqueFd(tracker[1]);
    return links;
}

Result<qemu::QemuStart> Emulator::plan_start(const Links& links)
{
    auto library = find_tracker_library();
    auto ids = file_ids(ram_);
    if (!library || !ids)
        return library ? pass(ids) : pass(library);
    std::vector<int> ram_fds;
    ram_fds.reserve(ram_.size());
    for (const RamBlock& block : ram_)
        ram_fds.push_back(block.file.get());
    const std::vector<int> qmp_fds{links.engine_qemus.get(), links.user_qemus.get()};

    qemu::QemuStart start;
    start.binary = plan_.binary;
    start.arguments = qemu::qemu_arguments(plan_, ram_fds, qmp_fds);
    descriptors_.inherit(inherited_, start.arguments);
    start.keep_fds = ram_fds;
    start.keep_fds.insert(start.keep_fds.end(), qmp_fds.begin(), qmp_fds.end());
    start.keep_fds.push_back(links.tracker_qemus.get());
    start.environment = {
        {"LD_PRELOAD", with_our_preload(*library)},
        {tracker_socket_variable, std::to_string(links.tracker_qemus.get())},
        {tracker_files_variable, *ids},
    };
    // Who starts a daemon by a pipe reads until its last writer has closed it.
    start.null_stdio =
        plan_.daemonize || std::ranges::count(plan_.monitors, MonitorEndpoint::Kind::Stdio,
                                              &MonitorEndpoint::kind) > 0;
    return start;
}

void Emulator::connect_monitors(Links& links)
{
    // QEMU's death shows in two ways, here and as the end of its process: the latter says more.
    auto closed = [](const Error&) {};
    engine_qmp_ = std::make_unique<QmpClient>(
        std::move(links.engine_ours), QmpClient::Callbacks{[this](const Json& event) {
                                                               if (machine_)
                                                                   machine_->handle_event(event);
                                                           },
                                                           closed});
    user_qmp_ = std::make_unique<QmpClient>(
        std::move(links.user_ours),
        QmpClient::Callbacks{[this](const Json& event) { handle_user_event(event); },
                             [this](const Error&) { monitor_ended(); }});
    engine_qmp_->negotiate(
        false, [this](Result<Json> greeting) { engine_monitor_ready(std::move(greeting)); });
}

} // namespace drover
