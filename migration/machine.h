// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/ram/dirty_tracker.h"
#include "migration/ram/page_hold.h"
#include "migration/ram/ram_block.h"
#include "migration/ram/ram_mapping.h"
#include "monitor/json.h"
#include "util/loop.h"
#include "util/result.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace drover {

/// How a guest is to be slowed down.
struct SlowDown {
    double part = 0;     ///< of its speed, 0 (not at all) … 0.99
    double most = 0;     ///< never by more than this, whatever the way
    double writes_s = 0; ///< what a guest slowed like this writes to: clean pages/s; 0: unknown
};

/// How a machine's devices travel: as their hypervisor has them, which only its like can load, or
/// as no hypervisor has them (docs/machine-state.md).
enum class StateForm { Own, Neutral };

/// What the migration engine needs of a hypervisor. The engine knows no other thing about it.
///
/// Loop thread only, except that the RAM blocks' files and the tracker are used by worker threads.
/// Nothing here blocks: what takes time ends in a callback, later, on the loop thread. A callback
/// is never made from within the call that was given it.
class Machine {
public:
    virtual ~Machine() = default;

    /// In the order of their names. Blocks come and go with memory that is plugged and unplugged,
    /// but not during a migration.
    [[nodiscard]] virtual std::span<const RamBlock> ram() const = 0;

    /// What this machine is: kind, version, machine type, accelerator, vCPUs, CPU model and
    /// features, devices. See docs/stream-format.md, "machine".
    virtual void describe(std::function<void(Result<Json>)> done) = 0;

    /// The guest's dirty tracker, or why there is none. Owned by the machine.
    [[nodiscard]] virtual Result<DirtyTracker*> tracker() = 0;

    /// Whether the guest can give memory back (a balloon, free page reporting): then pages can turn
    /// into holes without the tracker's seeing it.
    [[nodiscard]] virtual bool gives_memory_back() const = 0;

    /// Whether it can be saved in the neutral form; whether one that came in it can be loaded here.
    [[nodiscard]] virtual Status can_save_neutral() const { return no_neutral_form(); }
    [[nodiscard]] virtual Status can_load_neutral() const { return no_neutral_form(); }
    /// In which form `data` is wanted, or load() will be fed. Before begin_save() or begin_load().
    virtual void use_state_form(StateForm /*form*/) {}

    /// The hypervisor has ended, and the guest with it: fails what is under way.
    virtual void process_died(const Error& /*how*/) {}

    // --- at the source ---

    /// Whether the guest can be saved as it stands. Changes nothing: for a forecast, too.
    virtual void may_save(std::function<void(Status)> done)
    {
        loop::post([done = std::move(done)] { done({}); });
    }

    /// Before the first page is sent: the same, in earnest. One that does not run may first have to
    /// be made whole (its disks may still be inactive here).
    virtual void prepare_save(std::function<void(Status)> done) = 0;

    /// The guest is about to be migrated by somebody who may slow it down: measures what its full
    /// speed is.
    virtual void observe() {}

    /// Whether the guest can be slowed down here; if not, the error says why.
    [[nodiscard]] virtual Status can_slow()
    {
        return fail(ErrorKind::Refused, "this machine cannot be slowed down", "");
    }

    /// Slows the guest in one of two ways: by that part of its speed, or by bounding its first
    /// writes to clean pages. If it fails, the guest runs at full speed.
    [[nodiscard]] virtual Status slow_down(const SlowDown& /*wish*/) { return can_slow(); }

    /// The way in which the guest is slowed now; empty if it is not.
    [[nodiscard]] virtual std::string_view slowed_by() const { return {}; }

    struct SaveCallbacks {
        /// The vCPUs stand still and all I/O is done: RAM does not change any more. `ran`: the
        /// guest was running until now, and is to run at the destination.
        std::function<void(bool ran)> paused;
        /// A piece of the device state, in order; some may come before the pause.
        std::function<void(std::span<const std::byte>)> data;
        /// All of the device state was handed over.
        std::function<void()> saved;
        /// It cannot be saved. The caller must still abandon_save().
        std::function<void(Error)> failed;
    };

    /// Begins to save the devices and, when it can, pauses the guest and calls `paused`. Of a guest
    /// that stands still already nothing is saved before finish_save(): given up until then, it is
    /// as it was.
    virtual void begin_save(SaveCallbacks callbacks) = 0;

    /// After `paused`: saves the rest.
    virtual void finish_save() = 0;

    /// Back-pressure: no `data` is delivered while held.
    virtual void hold_data(bool hold) = 0;

    /// Undoes everything since begin_save(), whatever had been reached: the guest runs here again
    /// if it ran. Must not be called once the guest was given to the destination.
    virtual void abandon_save(std::function<void(Status)> done) = 0;

    // --- at the destination ---

    /// A source is there: the description of its machine, and all its RAM in bytes, for which
    /// nobody vouches. Asked before describe() and ram(). A machine that is not made yet takes on
    /// that form; an error refuses the guest, and another source may come.
    [[nodiscard]] virtual Status expect_guest(const Json& /*source*/, uint64_t /*ram*/)
    {
        return {};
    }

    /// Guest RAM as the hypervisor has it mapped, in the order of ram(); null where it cannot be
    /// written there. It may be used until the guest runs.
    [[nodiscard]] virtual std::unique_ptr<RamMapping> ram_mapping() { return nullptr; }

    /// Prepares to load; `failed` may come at any time until finish_load's end. What the RAM holds
    /// is the engine's to make zero, which takes time that the loop thread does not have.
    virtual void begin_load(std::function<void(Status)> ready,
                            std::function<void(Error)> failed) = 0;

    /// Whether finish_load() could be called at once. If not (what can be prepared while the guest
    /// runs still is), `prepared` is called once it can: until then the source is kept from the
    /// guest's pause.
    [[nodiscard]] virtual bool load_is_prepared(std::function<void()> /*prepared*/) { return true; }

    /// Feeds a piece of the device state. Pieces fed before the RAM is complete must be what was
    /// saved before the pause.
    virtual void load(std::span<const std::byte> piece) = 0;

    /// Back-pressure: the hypervisor has much to read yet. Whoever feeds it stops then, until
    /// `caught_up` is called (once).
    [[nodiscard]] virtual bool load_is_behind(std::function<void()> caught_up) = 0;

    /// Nothing follows; `loaded` says whether the guest is now complete, paused, able to run.
    virtual void finish_load(std::function<void(Status)> loaded) = 0;

    /// The user wants an incoming guest to stay paused (-S), to run it himself.
    [[nodiscard]] virtual bool keeps_paused() const { return false; }

    /// The user's capability late-block-activate: the disks of a guest that arrives paused are
    /// taken only when the user runs it, or moves it on.
    virtual void set_activates_late(bool /*late*/) {}
    /// Whether the hypervisor's migrate-incoming has "exit-on-error" (QEMU 9.1), and the user's
    /// word: false keeps one alive that could not load its guest.
    [[nodiscard]] virtual bool has_exit_on_error() const { return false; }
    virtual void set_exits_on_error(bool /*exits*/) {}

    /// What post-copy needs to let the guest run here before all of its RAM has come; or why this
    /// cannot be had. Owned by the machine.
    [[nodiscard]] virtual Result<PageHold*> page_hold()
    {
        return fail(ErrorKind::Refused, "this machine has no post-copy", "");
    }

    /// The guest that runs here waits for pages that cannot come now: it stands still, and goes on
    /// (if it ran) when `still` is false again.
    virtual void stand_still(bool /*still*/) {}

    /// The guest is ours, and its disks: runs it if `run` and not keeps_paused(), and announces it
    /// to the network. An error means that the guest did not run here, not even for a moment.
    virtual void take_over(bool run, std::function<void(Status)> done) = 0;

private:
    [[nodiscard]] static Status no_neutral_form()
    {
        return fail(ErrorKind::Refused, "this machine is not translated between hypervisors", "");
    }
};

} // namespace drover
