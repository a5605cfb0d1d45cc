// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/qemu_machine.h"

#include "util/log.h"
#include "vmm/qemu/qmp_sequence.h"
#include "vmm/qemu/running_facts.h"
#include "vmm/qemu/tracker/choose.h"

#include <algorithm>
#include <sys/stat.h>

namespace drover::qemu {

namespace {

/// The announcements that are about this block's file.
std::vector<TrackedMapping> take_announced(const RamBlock& block,
                                           std::vector<TrackedMapping>& announced)
{
    std::vector<TrackedMapping> taken;
    struct stat file {};
    if (fstat(block.file.get(), &file) < 0)
        return taken;
    std::erase_if(announced, [&](TrackedMapping& mapping) {
        if (mapping.where.device != file.st_dev || mapping.where.inode != file.st_ino)
            return false;
        taken.push_back(std::move(mapping));
        return true;
    });
    return taken;
}

constexpr ptrdiff_t max_announced = 256;

} // namespace

QemuMachine::QemuMachine(QmpClient& qmp, QemuMachineConfig config)
    : qmp_(qmp), config_(std::move(config))
{
    // Both sides have it in the order of names, whatever came on the command line and what by
    // object-add.
    std::ranges::sort(config_.ram, {}, &RamBlock::name);
}

QemuMachine::~QemuMachine()
{
    *alive_ = false;
}

/// Where the library said that guest RAM is; asked for once, and again after memory was plugged.
Result<std::span<const BlockMapping>> QemuMachine::mappings()
{
    if (!mappings_.empty())
        return mappings_;
    auto received = receive_mappings(config_.tracker_socket.get());
    if (!received)
        return pass(received);
    std::ranges::move(*received, std::back_inserter(announced_));
    for (const RamBlock& block : config_.ram) {
        if (placed_.contains(block.name))
            continue;
        auto found = place_blocks(std::span(&block, 1), take_announced(block, announced_));
        if (!found)
            return pass(found);
        placed_[block.name] = std::move(found->front());
    }
    // QEMU may map other files; of what it says we do not keep ever more.
    if (announced_.size() > max_announced)
        announced_.erase(announced_.begin(), announced_.end() - max_announced);
    for (const RamBlock& block : config_.ram)
        mappings_.push_back(std::move(placed_[block.name]));
    placed_.clear();
    return mappings_;
}

void QemuMachine::ram_unplugged(const std::string& id)
{
    const auto named = [&](const RamBlock& block) { return block.name == id; };
    if (std::erase_if(plugged_, named) == 0)
        unplugged_.insert(id);
}

bool QemuMachine::has_ram(const std::string& id) const
{
    return std::ranges::find(plugged_, id, &RamBlock::name) != plugged_.end() ||
           (ram_names().contains(id) && !unplugged_.contains(id));
}

void QemuMachine::settle_ram()
{
    if (plugged_.empty() && unplugged_.empty())
        return;
    // They look at what is about to change.
    brake_.reset();
    no_brake_.reset();
    page_hold_.reset();
    tracker_.reset();
    for (size_t i = 0; i < mappings_.size(); ++i)
        placed_[config_.ram[i].name] = std::move(mappings_[i]);
    mappings_.clear();
    std::erase_if(config_.ram,
                  [this](const RamBlock& block) { return unplugged_.contains(block.name); });
    for (const std::string& id : std::exchange(unplugged_, {}))
        placed_.erase(id);
    for (RamBlock& block : std::exchange(plugged_, {}))
        config_.ram.push_back(std::move(block));
    std::ranges::sort(config_.ram, {}, &RamBlock::name);
}

Result<DirtyTracker*> QemuMachine::tracker()
{
    if (died_) // its number may be another process's by now
        return std::unexpected(*died_);
    if (!tracker_) {
        auto blocks = mappings();
        if (!blocks)
            return pass(blocks);
        auto chosen = choose_tracker(config_.pid, *blocks);
        if (!chosen)
            return pass(chosen);
        tracker_ = std::move(*chosen);
    }
    // Devices come and go: each time anew.
    if (Status can = tracker_->can_start(); !can)
        return pass(can);
    return tracker_.get();
}

std::set<std::string> QemuMachine::ram_names() const
{
    std::set<std::string> names;
    for (const RamBlock& block : config_.ram)
        names.insert(block.name);
    return names;
}

void QemuMachine::ask_blockers(std::function<void(Result<std::vector<std::string>>)> done)
{
    ask_running(qmp_, config_.pid,
                [this, alive = alive_, done = std::move(done)](Result<RunningFacts> facts) {
                    if (!*alive)
                        return;
                    if (!facts)
                        return done(pass(facts));
                    auto reasons = migration_blockers(*facts, ram_names(), config_.aio);
                    if (config_.blocker)
                        reasons.insert(reasons.begin(), *config_.blocker);
                    // What writes guest RAM out of the tracker's sight (tracker/kernel_writers.h).
                    if (auto tracked = tracker(); !tracked && tracker_)
                        reasons.push_back(tracked.error().text());
                    done(std::move(reasons));
                });
}

Status QemuMachine::can_slow()
{
    if (brake_)
        return {};
    if (!no_brake_) {
        auto tracked = tracker(); // where there is none, nobody migrates anyway
        auto made = GuestBrake::create({.process = config_.pid,
                                        .vcpus = vcpu_threads_,
                                        .tracker = tracked ? *tracked : nullptr,
                                        .blocks = mappings_});
        if (made) {
            brake_ = std::move(*made);
            return {};
        }
        no_brake_ = std::move(made.error());
        log::warning("the guest cannot be slowed down here: " + no_brake_->text());
    }
    return std::unexpected(*no_brake_);
}

void QemuMachine::observe()
{
    if (can_slow())
        brake_->observe();
}

Status QemuMachine::slow_down(const SlowDown& wish)
{
    if (wish.part <= 0) {
        if (brake_)
            brake_->release(save_phase_ == SavePhase::Paused || save_phase_ == SavePhase::Saved);
        return {};
    }
    if (Status can = can_slow(); !can)
        return can;
    Status slowed = brake_->slow_down(wish);
    if (!slowed) {
        log::warning("the guest could not be slowed down: " + slowed.error().text());
        no_brake_ = slowed.error();
        brake_.reset();
    }
    return slowed;
}

std::string_view QemuMachine::slowed_by() const
{
    return brake_ ? brake_->way() : std::string_view();
}

void QemuMachine::handle_event(const Json& event)
{
    if (json_string(event, "event") != "MIGRATION")
        return run_state_event(event);
    const auto data = event.find("data");
    if (data == event.end())
        return;
    const std::string status = json_string(*data, "status");
    if (save_phase_ != SavePhase::Idle)
        saving_event(status);
    else if (load_phase_ != LoadPhase::Idle)
        loading_event(status);
}

void QemuMachine::process_died(const Error& how)
{
    died_ = how;
    if (save_phase_ == SavePhase::Settling)
        settled(std::unexpected(how));
    else if (save_phase_ != SavePhase::Idle)
        save_failed(how);
    if (load_phase_ != LoadPhase::Idle)
        load_failed(how);
}

} // namespace drover::qemu
