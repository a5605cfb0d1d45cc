// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "fake_hold.h"
#include "fake_ram.h"
#include "migration/machine.h"

#include <array>
#include <map>
#include <memory>
#include <optional>

namespace drover::testing {

/// Sees to it that of all the machines that share it at most one runs the guest at any time.
class Witness {
public:
    void runs(const std::string& machine, bool running);
    /// Who runs the guest; empty if nobody does.
    [[nodiscard]] std::string runner() const { return runner_; }

private:
    std::string runner_;
};

/// A hypervisor without a guest: RAM that the test writes, device state made up, and each step done
/// at once, not until the test says so, or never. Breaches of the Machine interface's rules by the
/// engine are test failures. Loop thread only.
class FakeMachine : public Machine {
public:
    enum Step {
        PrepareSave,
        Describe,
        Pause,
        Save,
        Abandon,
        PrepareLoad,
        FinishLoad,
        TakeOver,
        StepCount
    };
    enum class Act { AtOnce, Hold, Fail };

    FakeMachine(std::string name, Witness& witness, const std::vector<FakeBlock>& blocks,
                bool collects_ranges);
    ~FakeMachine() override;

    // --- the script ---
    std::array<Act, StepCount> acts{};
    Json description;
    bool gives_back = false;
    std::vector<std::byte> early_state, late_state; ///< saved before, after the pause
    std::optional<Error> tracker_error;
    const FakeMachine* original = nullptr; ///< at the destination: what is to arrive
    FakeRam fake_ram;
    FakeHold hold;
    bool has_postcopy = false;
    bool translates = false;              ///< has the neutral form
    std::function<void()> load_caught_up; ///< who waits for it, while load_is_slow
    bool load_is_slow = false;
    bool prepares_to_load = false; ///< until `load_prepared` is called
    std::function<void()> load_prepared;
    bool stays_paused = false; ///< as if started with -S

    /// The guest is here, and runs or not.
    void boot(bool running);
    [[nodiscard]] bool holds(Step step) const { return held_.contains(step); }
    /// Does what was held (it may fail now).
    void release(Step step, bool succeeds = true);
    /// The hypervisor says by itself that it cannot go on.
    void break_save();
    void break_load();
    /// Its process dies: the guest does not run here any more.
    void kill();

    [[nodiscard]] Status may_translate() const
    {
        return translates ? Status() : fail(ErrorKind::Refused, "the fake is not translated");
    }

    // --- what happened ---
    int stills = 0, goes_on = 0; ///< calls of stand_still()
    int begin_saves = 0, abandons = 0, begin_loads = 0, finish_loads = 0, take_overs = 0;
    std::vector<std::byte> loaded;
    [[nodiscard]] bool runs() const { return running_; }

    // --- Machine ---
    std::span<const RamBlock> ram() const override { return fake_ram.blocks(); }
    void describe(std::function<void(Result<Json>)> done) override;
    Result<DirtyTracker*> tracker() override;
    bool gives_memory_back() const override { return gives_back; }
    Status can_save_neutral() const override { return may_translate(); }
    Status can_load_neutral() const override { return may_translate(); }
    void prepare_save(std::function<void(Status)> done) override;
    void begin_save(SaveCallbacks callbacks) override;
    void finish_save() override;
    void hold_data(bool) override {}
    void abandon_save(std::function<void(Status)> done) override;
    void begin_load(std::function<void(Status)> ready, std::function<void(Error)> failed) override;
    void load(std::span<const std::byte> piece) override;
    bool load_is_prepared(std::function<void()> prepared) override;
    bool load_is_behind(std::function<void()> caught_up) override;
    void finish_load(std::function<void(Status)> loaded) override;
    Result<PageHold*> page_hold() override;
    bool keeps_paused() const override { return stays_paused; }
    void stand_still(bool still) override { ++(still ? stills : goes_on); }
    void take_over(bool run, std::function<void(Status)> done) override;

private:
    void step(Step which, std::function<void(bool succeeds)> action);
    void set_running(bool running);
    void paused(bool succeeds);
    void saved(bool succeeds);

    std::string name_;
    Witness& witness_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    std::map<Step, std::function<void(bool)>> held_;
    bool running_ = false;

    bool saving_ = false, paused_ = false;
    bool ran_ = false; ///< when it was paused
    unsigned save_number_ = 0;
    SaveCallbacks save_;
    std::function<void(Error)> load_failed_;
    bool loading_ = false, load_complete_ = false;
};

} // namespace drover::testing
