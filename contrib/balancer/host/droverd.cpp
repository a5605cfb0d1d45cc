// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/droverd.h"

#include "contrib/balancer/host/measure/metrics_page.h"
#include "contrib/balancer/host/state_file.h"
#include "util/log.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>

namespace drover::balancer {

namespace {
constexpr std::chrono::seconds adopt_period{10};
}

Droverd::Droverd(DroverdConfig config) : config_(std::move(config)) {}

Droverd::~Droverd() = default;

/// Two droverds over one state directory would each believe that the VMs are theirs.
Status Droverd::take_the_host()
{
    if (const Status made = make_directories(config_.state_directory); !made)
        return made;
    const std::string path = config_.state_directory + "/lock";
    lock_ = UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock_)
        return fail_errno("opening " + path, errno);
    if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
        return fail(ErrorKind::Refused, "another droverd has " + config_.state_directory,
                    "stop it, or give this one another state-directory");
    return {};
}

Status Droverd::start()
{
    if (const Status taken = take_the_host(); !taken)
        return taken;
    slice_ = make_slice_group(config_);
    for (const std::string& gap : slice_.gaps)
        log::warning(gap);
    service_ = std::make_unique<HostService>(config_, slice_.procs, [this](const Json& event) {
        if (doors_)
            doors_->broadcast(event);
    });
    if (is_xen_host())
        watch_xen();
    if (const Status restored = service_->restore(); !restored)
        return restored;
    meters_ = std::make_unique<Meters>(config_, slice_, service_->vms());
    if (xen_)
        meters_->use_xen(*xen_);
    meters_->start();
    if (!config_.adopt.empty())
        adopting_ = loop::every(adopt_period, [this] { service_->vms().adopt_by_pattern(); });
    if (const Status open = open_doors(); !open)
        return open;
    return serve_metrics();
}

/// Before anything is concluded about VMs of a droverd before us.
void Droverd::watch_xen()
{
    xen_ = std::make_unique<XenWatcher>(
        find_program("drover-xen"), [this] { xen_told(); },
        [this] {
            if (meters_)
                meters_->xen_lost();
        });
    xen_->await_first();
    service_->vms().use_xen(*xen_);
}

void Droverd::xen_told()
{
    if (!meters_)
        return; // still beginning
    meters_->xen_told(*xen_->facts());
    service_->vms().xen_news();
}

Status Droverd::open_doors()
{
    const Json greeting = make_greeting("droverd");
    commands_ = std::make_unique<CommandTable>(greeting.at("version"));
    add_host_commands(*commands_, {.config = config_,
                                   .slice = slice_,
                                   .service = *service_,
                                   .meters = *meters_,
                                   .offers = find_offers(config_)});
    doors_ = std::make_unique<DoorServer>(greeting, *commands_);
    DoorOptions local;
    local.address = "unix:" + (config_.socket.empty() ? config_.state_directory + "/droverd.sock"
                                                      : config_.socket);
    local.group = config_.socket_group;
    if (local.group.empty())
        local.mode = 0600;
    auto opened = doors_->add(local);
    if (opened && !config_.listen.empty()) {
        DoorOptions remote;
        remote.address = config_.listen;
        remote.identity =
            std::make_shared<TlsIdentity>(TlsFiles{config_.ca, config_.certificate, config_.key});
        log::info("door: " + *opened);
        opened = doors_->add(remote);
    }
    if (!opened)
        return std::unexpected(std::move(opened.error()));
    log::info("door: " + *opened);
    return {};
}

std::string Droverd::page() const
{
    std::map<std::string, std::string> states;
    for (Vm* vm : service_->vms().all())
        states[vm->name()] = to_string(vm->state());
    return metrics_page(meters_->loads().host(), meters_->loads().vms(), states);
}

Status Droverd::serve_metrics()
{
    if (config_.metrics_port == 0)
        return {};
    auto server =
        MetricsServer::start(config_.metrics_address, static_cast<uint16_t>(config_.metrics_port),
                             [this] { return page(); });
    if (!server)
        return std::unexpected(std::move(server.error()));
    metrics_ = std::move(*server);
    log::info("metrics: http://" + config_.metrics_address + ":" +
              std::to_string(config_.metrics_port) + "/metrics");
    return {};
}

} // namespace drover::balancer
