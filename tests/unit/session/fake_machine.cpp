// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_machine.h"

#include "util/loop.h"

namespace drover::testing {

void Witness::runs(const std::string& machine, bool running)
{
    if (running) {
        EXPECT_TRUE(runner_.empty() || runner_ == machine)
            << "the guest runs at " << machine << " while it runs at " << runner_;
        runner_ = machine;
    } else if (runner_ == machine) {
        runner_.clear();
    }
}

FakeMachine::FakeMachine(std::string name, Witness& witness, const std::vector<FakeBlock>& blocks,
                         bool collects_ranges)
    : fake_ram(blocks, collects_ranges), name_(std::move(name)), witness_(witness)
{
    description = Json{{"kind", "fake"},
                       {"version", "1"},
                       {"arch", "x86_64"},
                       {"machine", "fake-1.0"},
                       {"accelerator", "none"},
                       {"cpus", 2},
                       {"cpu_model", "fake64"},
                       {"cpu_features", {{"1.ecx", 0x7U}}},
                       {"devices", {{"/disk", "fake-blk"}, {"/net", "fake-net"}}}};
}

FakeMachine::~FakeMachine()
{
    *alive_ = false;
}

void FakeMachine::step(Step which, std::function<void(bool)> action)
{
    if (acts[which] == Act::Hold) {
        held_[which] = std::move(action);
        return;
    }
    const bool succeeds = acts[which] == Act::AtOnce;
    loop::post([alive = alive_, action = std::move(action), succeeds] {
        if (*alive)
            action(succeeds);
    });
}

void FakeMachine::release(Step step, bool succeeds)
{
    ASSERT_TRUE(holds(step));
    auto action = std::move(held_[step]);
    held_.erase(step);
    action(succeeds);
}

void FakeMachine::set_running(bool running)
{
    running_ = running;
    fake_ram.set_running(running);
    witness_.runs(name_, running);
}

void FakeMachine::boot(bool running)
{
    set_running(running);
}

void FakeMachine::kill()
{
    set_running(false);
    held_.clear();
    *alive_ = false; // nothing that it was doing goes on
    alive_ = std::make_shared<bool>(true);
}

void FakeMachine::describe(std::function<void(Result<Json>)> done)
{
    step(Describe, [this, done = std::move(done)](bool succeeds) {
        if (succeeds)
            done(description);
        else
            done(fail(ErrorKind::Machine, "the fake cannot describe itself"));
    });
}

Result<DirtyTracker*> FakeMachine::tracker()
{
    if (tracker_error)
        return std::unexpected(*tracker_error);
    return &fake_ram;
}

void FakeMachine::prepare_save(std::function<void(Status)> done)
{
    step(PrepareSave, [done = std::move(done)](bool succeeds) {
        done(succeeds ? Status{} : fail(ErrorKind::Refused, "the fake cannot be saved as it is"));
    });
}

void FakeMachine::begin_save(SaveCallbacks callbacks)
{
    EXPECT_FALSE(saving_) << name_ << ": begin_save during a save";
    ++begin_saves;
    saving_ = true;
    paused_ = false;
    save_ = std::move(callbacks);
    const unsigned number = ++save_number_;
    loop::post([this, alive = alive_, number] {
        if (*alive && saving_ && number == save_number_ && !early_state.empty())
            save_.data(early_state);
    });
    step(Pause, [this, number](bool succeeds) {
        if (saving_ && number == save_number_)
            paused(succeeds);
    });
}

void FakeMachine::paused(bool succeeds)
{
    if (!succeeds)
        return save_.failed({ErrorKind::Machine, "the fake cannot pause", ""});
    ran_ = running_;
    paused_ = true;
    set_running(false);
    save_.paused(ran_);
}

void FakeMachine::finish_save()
{
    EXPECT_TRUE(saving_ && paused_) << name_ << ": finish_save before the pause";
    step(Save, [this, number = save_number_](bool succeeds) {
        if (saving_ && number == save_number_)
            saved(succeeds);
    });
}

void FakeMachine::saved(bool succeeds)
{
    if (!succeeds)
        return save_.failed({ErrorKind::Machine, "the fake cannot save its devices", ""});
    const std::span<const std::byte> all(late_state);
    const size_t half = all.size() / 2;
    save_.data(all.first(half));
    save_.data(all.subspan(half));
    save_.saved();
}

void FakeMachine::break_save()
{
    save_.failed({ErrorKind::Machine, "the fake broke while it saved", ""});
}

void FakeMachine::abandon_save(std::function<void(Status)> done)
{
    EXPECT_TRUE(saving_) << name_ << ": abandon_save without begin_save";
    ++abandons;
    saving_ = false;
    held_.erase(Pause);
    held_.erase(Save);
    step(Abandon, [this, done = std::move(done)](bool succeeds) {
        if (!succeeds)
            return done(fail(ErrorKind::Machine, "the fake cannot run its guest again"));
        if (paused_ && ran_)
            set_running(true);
        done({});
    });
}

void FakeMachine::begin_load(std::function<void(Status)> ready, std::function<void(Error)> failed)
{
    EXPECT_FALSE(running_) << name_ << ": begin_load into a running guest";
    ++begin_loads;
    load_failed_ = std::move(failed);
    step(PrepareLoad, [this, ready = std::move(ready)](bool succeeds) {
        loading_ = succeeds;
        ready(succeeds ? Status{} : fail(ErrorKind::Machine, "the fake cannot prepare to load"));
    });
}

void FakeMachine::break_load()
{
    load_failed_({ErrorKind::Machine, "the fake broke while it loaded", ""});
}

void FakeMachine::load(std::span<const std::byte> piece)
{
    EXPECT_TRUE(loading_ && finish_loads == 0) << name_ << ": load out of order";
    loaded.insert(loaded.end(), piece.begin(), piece.end());
    // Devices read RAM while they are loaded: what was saved after the pause must come after it.
    if (original && !hold.holding() && loaded.size() > original->early_state.size()) {
        EXPECT_TRUE(same_ram(original->fake_ram, fake_ram)) << "device state came before RAM";
    }
}

bool FakeMachine::load_is_prepared(std::function<void()> prepared)
{
    load_prepared = std::move(prepared);
    return !prepares_to_load;
}

bool FakeMachine::load_is_behind(std::function<void()> caught_up)
{
    if (load_is_slow)
        load_caught_up = std::move(caught_up);
    return load_is_slow;
}

void FakeMachine::finish_load(std::function<void(Status)> done)
{
    EXPECT_TRUE(loading_) << name_ << ": finish_load out of order";
    ++finish_loads;
    if (original && !hold.holding()) {
        EXPECT_TRUE(same_ram(original->fake_ram, fake_ram));
    }
    step(FinishLoad, [this, done = std::move(done)](bool succeeds) {
        load_complete_ = succeeds;
        done(succeeds ? Status{} : fail(ErrorKind::Machine, "the fake cannot load its devices"));
    });
}

Result<PageHold*> FakeMachine::page_hold()
{
    if (!has_postcopy)
        return fail(ErrorKind::Refused, "the fake has no post-copy", "");
    return &hold;
}

void FakeMachine::take_over(bool run, std::function<void(Status)> done)
{
    EXPECT_TRUE(load_complete_) << name_ << ": take_over of a guest that is not complete";
    ++take_overs;
    step(TakeOver, [this, run, done = std::move(done)](bool succeeds) {
        if (succeeds)
            set_running(run && !stays_paused);
        done(succeeds ? Status{} : fail(ErrorKind::Machine, "the fake cannot run the guest"));
    });
}

} // namespace drover::testing
