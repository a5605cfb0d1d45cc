// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "monitor/qmp_client.h"
#include "util/loop.h"
#include "vmm/qemu/blockers.h"
#include "vmm/qemu/form_store.h"
#include "vmm/qemu/ram_plan.h"
#include "vmm/qemu/state/blank_machine.h"
#include "vmm/qemu/state/neutral_stream.h"
#include "vmm/qemu/throttle/guest_brake.h"
#include "vmm/qemu/tracker/placement.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>

namespace drover::qemu {

/// The command line of that QEMU, program first, with the placeholders of its RAM.
struct BlankPlan {
    std::vector<std::string> command;
    std::vector<RamFile> ram;
};

/// What the adapter needs to know of the QEMU that it drives.
struct QemuMachineConfig {
    pid_t pid = -1;
    std::vector<RamBlock> ram;
    UniqueFd tracker_socket;   ///< from the preloaded library; see tracker/handover.h
    bool start_paused = false; ///< the user's -S: the guest is not to be run after a migration
    std::string version;       ///< QEMU's, such as 7.2.22
    std::string architecture;  ///< such as x86_64
    AioWords aio;              ///< of the command line
    std::optional<std::string> blocker; ///< as the command line has it, for good
    /// How to start a QEMU with the same machine beside it, which tells how its devices are saved;
    /// or why that cannot be.
    Result<BlankPlan> blank = BlankPlan();
    /// What such QEMUs have told.
    FormStore forms{""};
};

/// A stock QEMU as a Machine. Its RAM is Drover's shared files; its devices travel in QEMU's own
/// migration stream, which with x-ignore-shared holds little else.
class QemuMachine : public Machine {
public:
    /// `qmp` is a monitor of the engine's own, negotiated; it must outlive the machine.
    QemuMachine(QmpClient& qmp, QemuMachineConfig config);
    ~QemuMachine() override;

    /// Whether an incoming guest is to stay paused.
    void set_start_paused(bool paused) { config_.start_paused = paused; }
    /// Guest RAM that was plugged by object-add, whose file Drover made: it is carried from now on.
    /// And what went by object-del. Both wait for settle_ram().
    void ram_plugged(RamBlock block) { plugged_.push_back(std::move(block)); }
    void ram_unplugged(const std::string& id);
    /// Takes them into account. ram(), tracker() and page_hold() are then others: no session that
    /// is not over, and no forecast, may be using them.
    void settle_ram();
    /// Whether it is ours, settled or not.
    [[nodiscard]] bool has_ram(const std::string& id) const;

    /// What is said of disks while the guest runs is to be learnt here.
    [[nodiscard]] AioWords& aio_words() { return config_.aio; }
    /// Asks the running QEMU what stands in the way of a migration from here: ours and its own
    /// reasons, in words.
    void ask_blockers(std::function<void(Result<std::vector<std::string>>)> done);
    /// A user's "stop" or "cont" is on its way to QEMU; and was answered. No save begins in
    /// between: nobody knows then whether the guest is to run.
    void run_state_asked() { ++run_states_asked_; }
    void run_state_answered();
    /// A guest is awaited: where guests of other kinds come to, how this machine is to be loaded is
    /// learnt now, if it is not known.
    void learn_form_ahead();
    /// Each event of `qmp`.
    void handle_event(const Json& event);
    void process_died(const Error& how) override;

    std::span<const RamBlock> ram() const override { return config_.ram; }
    void describe(std::function<void(Result<Json>)> done) override;
    Result<DirtyTracker*> tracker() override;
    bool gives_memory_back() const override { return gives_memory_back_; }
    Status can_save_neutral() const override;
    Status can_load_neutral() const override;
    void use_state_form(StateForm form) override { form_ = form; }
    void observe() override;
    Status can_slow() override;
    Status slow_down(const SlowDown& wish) override;
    std::string_view slowed_by() const override;

    void may_save(std::function<void(Status)> done) override;
    void prepare_save(std::function<void(Status)> done) override;
    void begin_save(SaveCallbacks callbacks) override;
    void finish_save() override;
    void hold_data(bool hold) override;
    void abandon_save(std::function<void(Status)> done) override;

    std::unique_ptr<RamMapping> ram_mapping() override;
    void begin_load(std::function<void(Status)> ready, std::function<void(Error)> failed) override;
    void load(std::span<const std::byte> piece) override;
    bool load_is_prepared(std::function<void()> prepared) override;
    bool load_is_behind(std::function<void()> caught_up) override;
    void finish_load(std::function<void(Status)> loaded) override;
    bool keeps_paused() const override { return config_.start_paused; }
    void set_activates_late(bool late) override { activates_late_ = late; }
    bool has_exit_on_error() const override;
    void set_exits_on_error(bool exits) override { exits_on_error_ = exits; }
    Result<PageHold*> page_hold() override;
    void stand_still(bool still) override;
    void take_over(bool run, std::function<void(Status)> done) override;

private:
    [[nodiscard]] Result<std::span<const BlockMapping>> mappings();

    // qemu_disks.cpp
    [[nodiscard]] static Status may_be_saved(const Json& state);
    void activate_disks(std::function<void(Status)> done);

    // qemu_save.cpp
    void start_saving();
    void run_state_event(const Json& event);
    void save_prepared(const Json& state);
    void issue_save();
    void saving_event(const std::string& status);
    void save_failed(Error error);
    void watch_save();
    [[nodiscard]] bool read_save();
    void leave_no_capabilities();

    // qemu_unwind.cpp
    void settle();
    void settle_run_state();
    void resume_guest();
    void cont_failed(const Error& error);
    void settled(Status status);

    // qemu_neutral.cpp
    void collect(std::span<const std::byte> piece);
    [[nodiscard]] Status hand_on_neutral();
    [[nodiscard]] Status begin_to_learn_layout();
    [[nodiscard]] Status start_blank();
    [[nodiscard]] bool take_kept_form();
    void layout_learnt(Result<UniqueFd> saved);
    void keep_form(const LoadForm& form);
    void translate_what_was_loaded();

    // qemu_load.cpp
    void begin_feeding(std::function<void(Status)> ready);
    void finish_feeding();
    void loading_event(const std::string& status);
    void load_failed(Error error);
    void flush_load();
    void confirm_not_run(Error error, const std::function<void(Status)>& done);

    [[nodiscard]] std::set<std::string> ram_names() const;
    [[nodiscard]] Json describe_from(const std::vector<Json>& answers);
    void describe_layout(const std::string& cpu, Json description,
                         std::function<void(Result<Json>)> done);
    void describe_features(Json description, std::function<void(Result<Json>)> done);
    void describe_hardware(Json description, std::function<void(Result<Json>)> done);

    QmpClient& qmp_;
    QemuMachineConfig config_;
    std::vector<RamBlock> plugged_;              ///< not in config_.ram yet
    std::set<std::string> unplugged_;            ///< still there
    std::vector<TrackedMapping> announced_;      ///< by the library; of no block that we know
    std::map<std::string, BlockMapping> placed_; ///< of blocks, while mappings_ is made anew
    std::vector<BlockMapping> mappings_;         ///< one for each block, or none: not asked for yet
    std::unique_ptr<DirtyTracker> tracker_;      ///< looks at mappings_
    std::unique_ptr<PageHold> page_hold_;        ///< likewise
    bool wants_still_ = false;                   ///< what stand_still() was told
    bool stands_still_ = false;                  ///< it has stopped the guest
    bool gives_memory_back_ = false;
    std::vector<pid_t> vcpu_threads_;   ///< as describe() found them
    std::unique_ptr<GuestBrake> brake_; ///< made when it is first asked for
    std::optional<Error> no_brake_;     ///< why it could not be made
    std::optional<Error> died_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    enum class SavePhase { Idle, Starting, Active, Paused, Saved, Settling };
    SavePhase save_phase_ = SavePhase::Idle;
    SaveCallbacks save_;
    UniqueFd save_fd_; ///< QEMU writes its stream to the other end
    loop::Source save_watch_;
    loop::Source save_patience_;
    bool save_held_ = false;
    bool ran_ = false;              ///< the guest runs, or ran until it was paused to be saved
    bool stops_itself_ = false;     ///< its next STOP is not the migration's doing
    bool save_issued_ = false;      ///< QEMU has been sent "migrate"
    unsigned run_states_asked_ = 0; ///< commands of users that QEMU has not answered
    std::function<void(Status)> settled_;
    loop::Source settle_timer_;
    loop::Source settle_limit_;              ///< nothing is waited for without an end
    std::optional<TimePoint> refused_since_; ///< when "cont" did not do at first

    StateForm form_ = StateForm::Own;
    std::vector<std::byte> collected_; ///< to be translated: QEMU's stream, or the neutral state
    std::unique_ptr<BlankMachine> blank_;
    std::string form_key_;                 ///< of what it tells; empty: that is for nobody else
    std::optional<LoadForm> form_to_load_; ///< from it, or kept; until a guest has come
    Json described_ = Json::object();      ///< what describe() has told last

    bool activates_late_ = false;
    bool exits_on_error_ = true;

    enum class LoadPhase { Idle, Feeding, Finishing, Loaded };
    LoadPhase load_phase_ = LoadPhase::Idle;
    bool loaded_early_ = false; ///< before finish_load()
    UniqueFd load_fd_;          ///< QEMU reads its stream from the other end
    loop::Source load_watch_;
    std::vector<std::byte> load_queue_;
    size_t load_written_ = 0; ///< of load_queue_
    std::function<void()> load_prepared_;
    std::function<void()> load_caught_up_;
    std::function<void(Error)> load_failed_;
    std::function<void(Status)> loaded_;
};

} // namespace drover::qemu
