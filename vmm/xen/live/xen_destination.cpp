// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_destination.h"

#include "util/log.h"
#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/xen/live/xen_cpu.h"
#include "vmm/xen/live/xen_domain.h"
#include "vmm/xen/live/xl_tool.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr size_t most_state = 64U << 20;
constexpr uint64_t most_tables = 2U << 20;

/// As `xl migrate` names a domain until it is given to this host.
std::string incoming_name(const XenGuest& guest)
{
    return guest.name + "--incoming";
}

Status pause_incoming(const XenGuest& guest)
{
    auto id = domain_id(incoming_name(guest));
    auto domain = id ? XenDomain::open(*id) : pass(id);
    return domain ? (*domain)->pause() : Status(pass(domain));
}

/// What xl, which was killed, has left of a guest that is not ours yet.
void destroy_incoming(const XenGuest& guest)
{
    const auto id = look_for_domain(incoming_name(guest));
    const auto left = id && *id ? run_xl({"destroy", std::to_string(**id)}) : std::string();
    if (!id || !left)
        log::warning("xl was killed, and what it has made cannot be destroyed: " +
                     (id ? left.error() : id.error()).text());
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

XenDestination::XenDestination(Config config) : config_(std::move(config))
{
    ram_.push_back({.name = "pc.ram",
                    .size = config_.guest.memory,
                    .backing_page = ram_page_size,
                    .file = {}});
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

/// Of the domain that will be made: nobody can ask it yet. One whose configuration changes its CPU
/// may have all that the host has.
void XenDestination::add_cpu(Json& description) const
{
    const Json build = config_.guest.config.value("b_info", Json::object());
    const bool changed = build.contains("cpuid") || build.contains("cpuid_legacy");
    if (auto features = changed ? most_cpu_features() : cpu_features(std::nullopt); features)
        description["cpu_features"] = std::move(*features);
    else
        log::warning(features.error().text() + "; CPU features are not compared");
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
        {"devices", Json::object()},
    };
    add_cpu(description);
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
        .failed =
            [this](const Error& error, bool killed) {
                if (killed && !taken_over_)
                    destroy_incoming(config_.guest);
                receiver_failed(error);
            },
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

} // namespace

void XenDestination::finish_load(std::function<void(Status)> loaded)
{
    loaded_ = std::move(loaded);
    auto state = decode();
    auto tables = state ? take_tables(*state) : pass(state);
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
    if (going && !receiver_)
        going = fail(ErrorKind::Machine, "xl has destroyed the guest");
    if (going) {
        Status permitted = receiver_->permit();
        if (permitted)
            return; // it answers
        going = judge_domain(config_.guest, permitted.error());
    }
    receiver_.reset();
    loop::post([this, alive = alive_, going = std::move(going)] {
        if (*alive && taken_over_)
            std::exchange(taken_over_, nullptr)(going);
    });
}

} // namespace drover::xen
