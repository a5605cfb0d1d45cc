// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/forecasts.h"
#include "contrib/balancer/cluster/held_guests.h"
#include "contrib/balancer/cluster/journal.h"
#include "contrib/balancer/cluster/judgement.h"
#include "contrib/balancer/cluster/leftovers.h"
#include "contrib/balancer/cluster/mover.h"

#include <deque>
#include <functional>
#include <memory>

namespace drover::balancer::cluster {

/// A plan's move, and what became of it.
struct PlannedMove {
    std::string id;
    ChosenMove move;
    std::string state; ///< "proposed", "waiting", "forecasting", "begun", "refused"
    std::string note;  ///< why it is refused, or the migration's ID
};

/// What is proposed. While rounds bring the same moves it stays the same plan, made anew.
struct CurrentPlan {
    std::string id;       ///< empty: none was ever made
    double made = 0;      ///< our clock
    double made_wall = 0; ///< seconds since 1970
    std::vector<PlannedMove> moves;
    Json rejected = Json::array();
    Json verdicts = Json::array();
};

/// A move that others of its plan made room for. Half of a swap can be worse than nothing, so it is
/// carried through although the plan is stale by then: checked against the world as it is, but not
/// against the cool-downs that the first half itself caused.
struct Promise {
    ChosenMove move;
    std::string plan;
    std::vector<std::string> after; ///< migrations that must end well first
    double until = 0;               ///< our clock: then it is given up
};

/// The control engine: each second it takes in what the hosts told, has it judged, and, as its mode
/// says, plans and acts. It outlives everything that breaks around it. Loop thread only.
class Balancer {
public:
    struct Parts {
        Journal& journal;
        Judgement& judgement;
        const TimeSource& time;
        LinkMaker make_link;
        std::string config_file;
        int run = 0; ///< in the IDs of plans, so that they are unique over restarts
        /// QMP's events: HOTSPOT, PLAN, MIGRATION, MODE (docs/balancer-qmp.md).
        std::function<void(const std::string& name, Json data)> event;
        std::function<std::string()> make_move_id = new_move_id;
        MovePatience patience = {};
        MoveLog* log = nullptr; ///< where migrations are written; default: the journal
    };
    Balancer(Config config, Parts parts);

    /// To be called some times a second; each second it does a round.
    void tick();

    // What QMP's commands of the same name do and return.
    [[nodiscard]] Json query_status() const;
    [[nodiscard]] Json query_hosts() const;
    [[nodiscard]] Json query_vms() const;
    [[nodiscard]] Json query_hotspots() const;
    [[nodiscard]] Json query_plan() const;
    [[nodiscard]] Json query_migrations() const;
    [[nodiscard]] Result<Json> query_history(int limit, const std::string& vm);
    [[nodiscard]] Result<Json> explain(const std::string& id);
    [[nodiscard]] Result<Json> approve(const std::string& id, const std::string& who);
    [[nodiscard]] Result<Json> migrate(const std::string& vm, const std::string& host,
                                       const std::string& who);
    [[nodiscard]] Result<Json> evacuate(const std::string& host, bool cancel,
                                        const std::string& who);
    [[nodiscard]] Status cancel(const std::string& id, const std::string& who);
    /// `done` may be called from within, and is called once or, if a host goes away, never.
    void check_migration(const std::string& vm, const std::string& host,
                         std::function<void(Result<Json>)> done);
    void query_host_cpus(const std::string& host, std::function<void(Result<Json>)> done);
    [[nodiscard]] Status set_mode(Mode mode, const std::string& who);
    /// What can only change by a restart is named in the answer. A bad file changes nothing.
    [[nodiscard]] Result<Json> reload();

    [[nodiscard]] const Config& config() const { return config_; }
    [[nodiscard]] Mode mode() const { return mode_; }
    [[nodiscard]] const Fleet& fleet() const { return fleet_; }
    [[nodiscard]] const Mover& mover() const { return mover_; }

private:
    struct Retry {
        std::string vm;
        double due = 0;
        int tries = 0;
    };

    void recover();
    [[nodiscard]] Status know_oneself();
    [[nodiscard]] Status cancel_foreign(const std::string& id);
    [[nodiscard]] bool is_foreign(const std::string& migration) const;
    [[nodiscard]] std::string foreign_move_of(const std::string& vm) const;
    [[nodiscard]] size_t count_foreign_moves() const;
    void round();
    void mend_journal();
    void observe();
    void take_hotspots();
    void make_plan();
    void act();
    void act_on(PlannedMove& planned);
    [[nodiscard]] bool all_foretold();
    [[nodiscard]] bool is_foretold(const ChosenMove& move);
    void keep_foretold();
    [[nodiscard]] Forecasts::Question question_about(const ChosenMove& move) const;
    [[nodiscard]] bool is_urgent(const ChosenMove& move) const;
    [[nodiscard]] std::string bounded_policy(const ChosenMove& move) const;
    void promise(const std::vector<PlannedMove>& moves);
    void keep_promises();
    void break_promise(const Promise& promise, const std::string& why);
    void settle_promises(const MoveRecord& closed);
    void retry_requests();
    void on_move_changed(const MoveRecord& record);
    void on_decided(const MoveRecord& record);
    [[nodiscard]] Result<std::string> begin(const ChosenMove& move, const std::string& wish,
                                            const std::string& why);
    [[nodiscard]] std::vector<PlannedMove> planned(const std::string& id) const;
    void carry_over(CurrentPlan& fresh) const;
    [[nodiscard]] size_t count_moves(const std::string& host, bool in, bool out) const;
    void note(const std::string& what, const std::string& id, const std::string& text,
              const std::string& vm = {}, const std::string& from = {}, const std::string& to = {});
    void remember_evacuations();
    [[nodiscard]] Json remaining_on(const std::string& host);
    [[nodiscard]] std::string why_it_stays(const std::string& vm, const Fleet::Place& place);
    [[nodiscard]] bool is_pinned(const Fleet::Place& place) const;
    void add_shut_off(Json& list) const;
    [[nodiscard]] Json plan_json(const CurrentPlan& plan) const;
    [[nodiscard]] Json move_json(const MoveRecord& record, const Move* move) const;
    [[nodiscard]] Json hotspots_of(const std::string& host, const std::string& vm) const;
    [[nodiscard]] std::string explain_vm(const std::string& vm) const;
    [[nodiscard]] std::string explain_host(const std::string& host);
    [[nodiscard]] std::string explain_hotspot(const std::string& id) const;
    [[nodiscard]] Result<std::string> explain_migration(const MoveRecord& record);

    Config config_;
    Parts parts_;
    Mode mode_;
    double started_;
    std::string identity_; ///< whose migrations are whose: made once, kept in the journal
    Fleet fleet_;
    DoorFinder find_door_;
    Mover mover_;
    Leftovers leftovers_;
    HeldGuests held_guests_;
    Forecasts forecasts_;
    std::set<std::string> evacuating_;
    std::vector<ShownHotspot> hotspots_;
    CurrentPlan plan_;
    std::deque<CurrentPlan> former_plans_;
    std::vector<Promise> promises_;
    std::vector<Retry> retries_;
    std::map<std::string, int> tries_; ///< of users' requests, by VM
    int plans_ = 0;
    double round_due_ = 0;
    double round_ms_ = 0;
    double mend_due_ = 0;
    double prune_due_ = 0;
    bool recovered_ = false; ///< what the journal had open is known
    /// Of migrations, as was told: state and outcome.
    std::map<std::string, std::pair<MoveState, std::string>> told_;
};

} // namespace drover::balancer::cluster
