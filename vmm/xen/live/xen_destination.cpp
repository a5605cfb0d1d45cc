// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_destination.h"

#include "util/log.h"
#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/xen/guest/model_arguments.h"
#include "vmm/xen/live/xen_domain.h"
#include "vmm/xen/live/xen_ram.h"
#include "vmm/xen/live/xl_tool.h"

#include <algorithm>
#include <sstream>

namespace drover::xen {

namespace {

constexpr size_t most_state = 64U << 20;
constexpr uint64_t most_tables = 2U << 20;

/// As `xl migrate` names a domain until it is given to this host.
std::string incoming_name(const XenGuest& guest)
{
    return guest.name + "--incoming";
}

/// Neither its name nor its UUID may be those of a domain that is here: Xen's tools find a domain's
/// entries by them.
Status check_identity_here(const XenGuest& guest)
{
    const auto domains = run_xl({"vm-list"}); // a line a domain: its UUID, number and name
    if (!domains)
        return std::unexpected(domains.error());
    std::istringstream lines(*domains);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string uuid;
        std::string number;
        std::string name;
        words >> uuid >> number >> name;
        if (name == guest.name || name == incoming_name(guest))
            return fail(ErrorKind::Refused, "this host has a domain " + name + " already",
                        "give the guest another name at the destination: -name NAME");
        if (!guest.uuid.empty() && uuid == guest.uuid)
            return fail(ErrorKind::Refused,
                        "the domain " + name + " of this host has the guest's UUID",
                        "end it, or give the guest's configuration: -config FILE");
    }
    return {};
}

Status pause_incoming(const XenGuest& guest)
{
    auto id = domain_id(incoming_name(guest));
    auto domain = id ? XenDomain::open(*id) : pass(id);
    return domain ? (*domain)->pause() : Status(pass(domain));
}

/// xl has died when it was to run the guest: whether it does is seen by the domain itself. One that
/// stands still is destroyed, so that the source's copy is the only one.
Status judge_domain(const XenGuest& guest, const Error& how)
{
    for (const std::string& name : {guest.name, incoming_name(guest)}) {
        const auto found = look_for_domain(name);
        if (!found) { // nobody can tell: rather no copy that runs than two
            log::error("whether the guest is here cannot be seen: " + found.error().text() +
                       "; look for the domain " + name + " before anything is done at the source");
            return {};
        }
        const auto id = *found;
        if (!id)
            continue;
        const auto domain = XenDomain::open(*id);
        const auto info = domain ? (*domain)->info() : std::unexpected(domain.error());
        if (!info || (!info->paused && !info->dying))
            return {}; // it runs, or may
        if (auto destroyed = run_xl({"destroy", std::to_string(*id)}); !destroyed) {
            log::error("the domain " + name +
                       " is here, paused, and cannot be destroyed: " + destroyed.error().text());
            return {}; // rather one copy that stands still than two that run
        }
    }
    return std::unexpected(how);
}

} // namespace

XenDestination::XenDestination(Config config)
    : config_(std::move(config)), derives_(config_.guest.memory == 0)
{
    set_memory(config_.guest.memory);
}

XenDestination::~XenDestination()
{
    *alive_ = false;
    give_up();
}

void XenDestination::give_up()
{
    receiver_.reset(); // xl destroys what it has, and whoever writes to it stops
    if (end_.joinable())
        end_.join();
}

std::unexpected<Error> XenDestination::nowhere()
{
    return fail(ErrorKind::Refused, "a guest that has come by drover-xen incoming is moved on by "
                                    "drover-xen serve");
}

void XenDestination::set_memory(uint64_t bytes)
{
    ram_.clear();
    ram_.push_back({.name = "pc.ram", .size = bytes, .backing_page = ram_page_size, .file = {}});
}

Status XenDestination::expect_guest(const Json& source, uint64_t ram)
{
    if (json_string(source, "kind") == "xen")
        return fail(ErrorKind::Refused, "guests go from Xen to Xen by xl migrate");
    if (const auto reasons = not_for_xen(source); !reasons.empty())
        return fail(ErrorKind::Incompatible, "the guest cannot run on Xen: " + reasons.front());
    if (Status fits = check_memory(ram); !fits)
        return fits;
    return derives_ ? derive(source, ram) : Status();
}

/// Waits for xl, at a time when nothing is under way. The administrator may want to give a
/// configuration as a file that was refused like this.
Status XenDestination::derive(const Json& source, uint64_t ram)
{
    auto guest = announced_guest(source, ram);
    if (!guest)
        return pass(guest);
    const GuestConfig derived = guest_config(*guest, config_.local);
    log::info("the guest's configuration, by what its source says:\n" + derived.text);
    if (!derived.open.empty())
        return std::unexpected(derived.open.front());
    auto config = read_xl_text(derived.text);
    auto read = config ? guest_of_config(std::move(*config)) : pass(config);
    if (!read)
        return pass(read);
    if (Status free = check_identity_here(*read); !free)
        return free;
    config_.guest = std::move(*read);
    config_.vcpus = guest->vcpus;
    set_memory(config_.guest.memory);
    return {};
}

void XenDestination::describe(std::function<void(Result<Json>)> done)
{
    Json description{
        {"kind", "xen"},
        {"version", ""},
        {"arch", "x86_64"},
        {"machine", "pc-i440fx"},
        {"accelerator", "xen"},
        {"cpus", config_.vcpus},
        {"memory", ram_.front().size},
        {"devices", devices_of_arguments(config_.guest.config.value("b_info", Json::object()))},
    };
    loop::post(
        [done = std::move(done), description = std::move(description)] { done(description); });
}

void XenDestination::prepare_save(std::function<void(Status)> done)
{
    loop::post([done = std::move(done)] { done(nowhere()); });
}

void XenDestination::begin_save(SaveCallbacks callbacks)
{
    loop::post([failed = std::move(callbacks.failed)] { failed(nowhere().error()); });
}

void XenDestination::abandon_save(std::function<void(Status)> done)
{
    loop::post([done = std::move(done)] { done({}); });
}

std::unique_ptr<RamMapping> XenDestination::ram_mapping()
{
    auto receiver = XlReceiver::start({
        .ready = [this] { std::exchange(ready_, nullptr)({}); },
        .received = [this] { std::exchange(loaded_, nullptr)({}); },
        .ended = [this](bool runs) { receiver_ended(runs); },
        .failed = [this](const Error& error) { receiver_failed(error); },
    });
    auto stream = receiver ? (*receiver)->stream() : pass(receiver);
    if (!stream) {
        broken_ = stream.error();
        return nullptr;
    }
    receiver_ = std::move(*receiver);
    feed_ = std::make_shared<XenFeed>(config_.guest, ram_.front().pages(), std::move(*stream));
    return std::make_unique<FedRam>(feed_);
}

void XenDestination::begin_load(std::function<void(Status)> ready,
                                std::function<void(Error)> failed)
{
    failed_ = std::move(failed);
    ready_ = std::move(ready);
    Status begun = feed_ ? feed_->begin(config_.vcpus) : std::unexpected(*broken_);
    if (begun)
        return; // xl says when it is
    loop::post([this, alive = alive_, begun = std::move(begun)] {
        if (*alive && ready_)
            std::exchange(ready_, nullptr)(begun);
    });
}

void XenDestination::receiver_failed(const Error& error)
{
    if (taken_over_)
        return std::exchange(taken_over_, nullptr)(judge_domain(config_.guest, error));
    if (ready_)
        return std::exchange(ready_, nullptr)(std::unexpected(error));
    if (loaded_)
        return std::exchange(loaded_, nullptr)(std::unexpected(error));
    if (failed_)
        failed_(error);
}

void XenDestination::receiver_ended(bool runs)
{
    if (!taken_over_)
        return;
    std::exchange(taken_over_, nullptr)(
        runs ? Status() : fail(ErrorKind::Machine, "xl could not run the guest"));
}

void XenDestination::load(std::span<const std::byte> piece)
{
    if (state_.size() + piece.size() <= most_state)
        state_.insert(state_.end(), piece.begin(), piece.end());
    else if (failed_)
        failed_({ErrorKind::Protocol, "the source sent more than 64 MiB of device state", ""});
}

Result<state::MachineState> XenDestination::decode()
{
    auto parts = state::decode_parts(state_);
    auto machine = parts ? state::from_parts(*parts) : pass(parts);
    std::vector<std::byte>().swap(state_);
    if (machine && machine->vcpus.size() != config_.vcpus)
        return fail(ErrorKind::Incompatible, "the guest has another number of vCPUs");
    return machine;
}

namespace {

/// The memory that a guest that was born on Xen has beyond its RAM, under QEMU in a device, which
/// it does not need here.
Result<std::optional<state::Memory>> take_tables(state::MachineState& machine)
{
    if (auto hole = qemu::take_acpi_hole(machine.devices); !hole)
        return pass(hole);
    const auto found =
        std::ranges::find_if(machine.memory, qemu::is_acpi_hole, &state::Memory::name);
    if (found == machine.memory.end())
        return std::nullopt;
    const bool ascends =
        std::ranges::adjacent_find(found->pages, std::greater_equal()) == found->pages.end();
    if (found->bytes.size() != found->pages.size() * ram_page_size || found->size > most_tables ||
        !ascends || (!found->pages.empty() && found->pages.back() >= found->size / ram_page_size))
        return fail(ErrorKind::Protocol, "the firmware's tables have not their form");
    return std::move(*found);
}

/// Xen's device model has the firmware's way to QEMU only where it gives a kernel to the guest that
/// boots; a guest that runs needs it no more.
void drop_firmware_files(const Json& config, state::MachineState& machine)
{
    const Json build = config.value("b_info", Json::object());
    if (json_string(build, "kernel").empty())
        std::erase_if(machine.devices,
                      [](const state::Device& device) { return device.name == "fw_cfg"; });
}

} // namespace

void XenDestination::finish_load(std::function<void(Status)> loaded)
{
    loaded_ = std::move(loaded);
    auto state = decode();
    auto tables = state ? take_tables(*state) : pass(state);
    if (state)
        drop_firmware_files(config_.guest.config, *state);
    auto machine = tables ? write_machine(*state) : pass(tables);
    if (!machine)
        return loop::post([this, alive = alive_, error = machine.error()] {
            if (*alive)
                fed(std::unexpected(error));
        });
    for (const std::string& change : machine->changes)
        log::info("the guest's " + change);
    end_ = std::thread([this, alive = alive_, feed = feed_, machine = std::move(*machine),
                        tables = std::move(*tables)] {
        Status status = feed->end(machine, tables);
        loop::post([this, alive, status = std::move(status)] {
            if (*alive)
                fed(status);
        });
    });
}

/// xl's own word, or end, says more than that the stream broke.
void XenDestination::fed(const Status& status)
{
    if (!status && loaded_)
        std::exchange(loaded_, nullptr)(status);
}

void XenDestination::take_over(bool run, std::function<void(Status)> done)
{
    taken_over_ = std::move(done);
    runs_ = run && !config_.paused;
    Status going = !runs_ ? pause_incoming(config_.guest) : Status();
    if (going)
        going = receiver_ ? receiver_->permit()
                          : fail(ErrorKind::Machine, "xl has destroyed the guest");
    if (going)
        return; // it answers
    receiver_.reset();
    loop::post([this, alive = alive_, going = std::move(going)] {
        if (*alive && taken_over_)
            std::exchange(taken_over_, nullptr)(going);
    });
}

} // namespace drover::xen
