// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_destination.h"

#include "util/log.h"
#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/xen/live/incoming_domain.h"
#include "vmm/xen/live/xen_ram.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr size_t most_state = 64U << 20;
constexpr uint64_t most_tables = 2U << 20;

void tell_of_late(const Error& why)
{
    log::warning("the device model starts only in the guest's pause, which is longer then: " +
                 why.text());
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
    early_.reset();
    if (end_.joinable())
        end_.join();
}

std::unexpected<Error> XenDestination::nowhere()
{
    return fail(ErrorKind::Refused, "a guest that has come by drover-xen incoming is moved on by "
                                    "drover-xen serve");
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
    return std::make_unique<IncomingRam>(ram_target_);
}

Status XenDestination::claim()
{
    claim_.reset(); // of a guest that did not come
    auto claimed = claim_incoming(config_.guest);
    if (claimed)
        claim_ = std::move(*claimed);
    return claimed ? Status() : pass(claimed);
}

Status XenDestination::start_receiver()
{
    auto receiver = XlReceiver::start({
        .ready = [this] { receiver_ready(); },
        .received = [this] { receiver_received(); },
        .ended = [this](bool runs) { receiver_ended(runs); },
        .failed = [this](const Error& error, bool killed) { receiver_failed(error, killed); },
    });
    auto stream = receiver ? (*receiver)->stream() : pass(receiver);
    if (!stream)
        return pass(stream);
    receiver_ = std::move(*receiver);
    feed_ = std::make_shared<XenFeed>(config_.guest, layout_, std::move(*stream));
    return {};
}

void XenDestination::begin_load(std::function<void(Status)> ready,
                                std::function<void(Error)> failed)
{
    failed_ = std::move(failed);
    ready_ = std::move(ready);
    Status begun = claim();
    if (begun)
        begun = start_receiver();
    if (begun && !(config_.early && begin_early()))
        begun = begin();
    if (begun)
        return; // xl says when it is
    loop::post([this, alive = alive_, begun = std::move(begun)] {
        if (*alive)
            this->ready(begun);
    });
}

void XenDestination::ready(const Status& status)
{
    if (ready_)
        std::exchange(ready_, nullptr)(status);
}

Status XenDestination::begin()
{
    ram_target_->ram = std::make_shared<FedRam>(feed_);
    return feed_->begin(config_.vcpus);
}

/// False: not here.
bool XenDestination::begin_early()
{
    auto early =
        EarlyDomain::start(incoming_name(config_.guest.name), config_.vcpus, feed_,
                           {.ready =
                                [this] {
                                    ram_target_->ram = early_->ram();
                                    this->ready({});
                                },
                            .failed = [this](const Error& error) { early_failed(error); }});
    if (!early) {
        tell_of_late(early.error());
        return false;
    }
    early_ = std::move(*early);
    return true;
}

/// Before the guest's first page nothing is lost, and the other way is there.
void XenDestination::early_failed(const Error& error)
{
    if (!ready_) {
        if (failed_)
            failed_(error);
        return;
    }
    tell_of_late(error);
    receiver_->break_off(); // receiver_failed() goes on
}

/// What was made the early way is destroyed: all is fed to xl, which begins anew.
void XenDestination::begin_again()
{
    early_.reset();
    receiver_.reset();
    Status begun = start_receiver();
    if (begun)
        begun = begin();
    if (!begun)
        ready(begun);
}

void XenDestination::receiver_ready()
{
    if (!early_)
        ready({});
}

void XenDestination::receiver_received()
{
    if (early_)
        early_->received();
    else if (loaded_)
        std::exchange(loaded_, nullptr)({});
}

void XenDestination::receiver_failed(const Error& error, bool killed)
{
    if (taken_over_)
        return taken(judge_domain(config_.guest, error));
    if (early_ && early_->domain())
        destroy_incoming(config_.guest, *early_->domain()); // or xl has
    else if (killed) // otherwise it destroys what it has made
        destroy_incoming(config_.guest);
    if (ready_ && early_)
        return loop::post([this, alive = alive_] { // not from within the receiver
            if (*alive)
                begin_again();
        });
    if (ready_)
        return ready(std::unexpected(error));
    if (loaded_)
        return std::exchange(loaded_, nullptr)(std::unexpected(error));
    if (failed_)
        failed_(error);
}

void XenDestination::receiver_ended(bool runs)
{
    if (taken_over_)
        taken(runs ? Status() : fail(ErrorKind::Machine, "xl could not run the guest"));
}

/// Its memory is its own from now on, and its device model's monitor free for others.
void XenDestination::taken(const Status& status)
{
    std::exchange(taken_over_, nullptr)(status);
    loop::post([this, alive = alive_] { // not from within what calls this
        if (*alive)
            early_.reset();
    });
    claim_.reset();
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
    auto machine = state::decode_machine(state_);
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
        machine.fw_cfg.reset();
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
    if (early_)
        return early_->load(std::move(*machine), std::move(*tables), [this](const Status& status) {
            if (loaded_)
                std::exchange(loaded_, nullptr)(status);
        });
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
            taken(going);
    });
}

} // namespace drover::xen
