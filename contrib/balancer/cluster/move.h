// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/move_record.h"
#include "contrib/balancer/cluster/time_source.h"

#include <functional>
#include <memory>

namespace drover::balancer::cluster {

/// How patient one is, in seconds.
struct MovePatience {
    double reach = 60;        ///< until hosts that cannot be reached are; then it is given up
    double prepare = 900;     ///< until the target, which can be, has made ready; longer than its
                              ///< own waiting-limit: it says why
    double answer = 10;       ///< for one command
    double watch = 1;         ///< between two looks at one that runs
    double first_retry = 0.5; ///< doubles with each failure up to
    double last_retry = 30;
};

/// Carries one migration from its plan to its end (move_state.h has the diagram). Every step is
/// written to the log before it is acted on. A step that begins something is not taken while it
/// cannot be written; one that only tells what happened, or cleans up, is taken all the same and
/// written later: until then is_saved() is false. Loop thread only.
class Move {
public:
    struct Surroundings {
        MoveLog& log;
        const DoorFinder& find_door;
        const TimeSource& time;
        const MovePatience& patience;
        const std::string& owner; ///< whom the hosts are told that it belongs to: this balancer
        /// After each change of the record.
        std::function<void(const MoveRecord&)> changed;
    };

    /// A new one, which was written already.
    Move(MoveRecord record, const Surroundings& around);
    /// What a former run left. What it had told the hosts is not known: they are asked.
    [[nodiscard]] static std::unique_ptr<Move> recovered(MoveRecord record,
                                                         const Surroundings& around);
    Move(const Move&) = delete;
    Move& operator=(const Move&) = delete;

    /// Does what is due. To be called often (some times a second).
    void tick();
    /// The host's state changed, or it told something: there may be something to ask it now.
    void hurry();
    /// As soon as it is safe. An error if it cannot be written: then it will not survive a restart.
    [[nodiscard]] Status cancel();

    [[nodiscard]] const MoveRecord& record() const { return record_; }
    [[nodiscard]] bool is_over() const { return record_.state == MoveState::Closed && saved_; }
    [[nodiscard]] bool is_saved() const { return saved_; }
    /// Tries to write what could not be written.
    [[nodiscard]] Status save();
    /// What the source, or else the target, said last. Silent: nothing yet.
    [[nodiscard]] const Word& latest() const { return latest_; }
    /// Why it does not go on, in words; empty: it does.
    [[nodiscard]] const std::string& waits_for() const { return waits_for_; }

private:
    /// The answers to what was asked at one time.
    struct Inquiry {
        Word source;
        Word target;
        Presence at_source = Presence::Unsure;
    };

    void act();
    void prepare();
    void on_prepared(const HostDoor::Answer& answer);
    void start();
    void on_started(const HostDoor::Answer& answer);
    void watch();
    void on_watched(const HostDoor::Answer& answer);
    void inquire();
    void confirm();
    void on_confirmed(const HostDoor::Answer& answer);
    void ask_whether_it_ran();
    void abandon();
    void on_abandoned(const HostDoor::Answer& answer);
    void tell_cancel();
    void conclude_inquiry();

    bool ask(const std::string& host, const std::string& command, Json arguments,
             std::function<void(const HostDoor::Answer&)> take);
    bool step(MoveEvent event, const std::string& note);
    void finish(MoveEvent event, const Word& word, const std::string& error);
    void again(const std::string& why);
    [[nodiscard]] bool is_up(const std::string& host) const;
    [[nodiscard]] bool is_stock_qemu() const;
    [[nodiscard]] Json only_id() const { return {{"migration", record_.id}}; }

    MoveRecord record_;
    const Surroundings& around_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
    uint64_t round_ = 0;    // answers to an earlier round are not heard any more
    int outstanding_ = 0;   // commands of this round without an answer
    double give_up_at_ = 0; // when the round's answers are too late
    double due_ = 0;        // of the next action
    double began_ = 0;      // when its preparation did
    double reached_ = 0;    // when its target was up last
    double cancel_told_ = -1e9;
    int failures_ = 0; // in a row
    bool saved_ = true;
    Inquiry inquiry_;
    Word latest_;
    bool source_runs_it_ = false;   // it said so, after the target had refused to give up
    std::optional<bool> guest_ran_; // as the source said with its last word
    std::string refusal_;           // what the source said to vm-migrate
    std::string waits_for_;
};

} // namespace drover::balancer::cluster
