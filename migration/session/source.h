// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "migration/policy/policy.h"
#include "migration/session/commit_asker.h"
#include "migration/session/control_link.h"
#include "migration/session/page_server.h"
#include "migration/session/ram_sender.h"
#include "migration/session/source_state.h"
#include "migration/stream/hello.h"
#include "migration/stream/resume.h"
#include "migration/stream/tunnel.h"
#include "migration/transport/rate_limit.h"
#include "migration/transport/tls_handshake.h"
#include "util/running_checksum.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace drover {

/// Device state and round trips, before anything was measured: what a QEMU needs to save, load and
/// resume a guest on an idle host, in seconds.
inline constexpr double usual_handover_s = 0.012;

struct SourceOptions {
    MigrationPeer destination;
    UniqueFd connected;         ///< for Kind::Fd: the socket, instead of an address to call
    unsigned channels = 2;      ///< data connections, 1 … 64
    uint64_t max_bandwidth = 0; ///< bytes/s while the guest runs here; 0: unlimited
    uint64_t max_postcopy_bandwidth = 0; ///< of what is pushed while it runs there; likewise
    MigrationWish wish;
    EncodingBounds encodings = {.allowed = stream::all_encodings}; ///< and what the peer knows
    bool pause_before_switchover = false; ///< wait for continue_switchover() when paused
    bool validate_uuid = false;           ///< the destination must have the same, if it has one
    std::string software;                 ///< "drover 0.1.0"
};

/// What happened, for query-migrate, the log and the report. Times in seconds since the start.
struct SourceReport {
    std::string tracker;
    std::string encryption;   ///< of its connections, in words; empty: in the clear
    EncodingTotals encodings; ///< when the rounds were over
    bool verified = false;    ///< RAM is compared, by a digest, before the guest runs there
    uint64_t delta_bytes = 0; ///< memory that may be used for deltas; 0: none are sent
    std::vector<RoundStats> rounds;
    Decision decision;               ///< the latest
    std::vector<Decision> decisions; ///< one a round; of very many the first and the latest
    double slowdown = 0;             ///< in force now
    double worst_slowdown = 0;       ///< so far
    std::string slowed_by;           ///< the machine's way, the latest that was used
    double setup_s = 0;              ///< until the first round began
    double switchover_s = 0;         ///< when the switchover was decided
    double paused_s = 0;             ///< when the guest was paused
    double downtime_s = 0;           ///< from the pause to the destination's word that it runs
    double total_s = 0;              ///< when it ended
    bool postcopy = false;           ///< it ran at the destination before all of its RAM was there
    PageServer::Counters served;     ///< in post-copy
    uint64_t postcopy_left = 0;      ///< pages that the destination lacks
    std::string no_postcopy;         ///< why the destination has no post-copy; empty if it has
    unsigned link_breaks = 0;        ///< in the copy, and in post-copy
    std::optional<Error> link_error; ///< why the link broke, as long as it is away
    double link_broken_s = 0;        ///< when that was
    bool arrived_paused = false;     ///< it was not run at the destination: its user's business
    uint64_t device_bytes = 0;       ///< of device state
    uint64_t control_bytes = 0;      ///< sent on the control connection, device state included
    std::optional<Error> error;
    std::optional<SourceState> given_up_in; ///< when it went wrong
};

/// Callbacks to the owner; none may destroy the session.
struct SourceObserver {
    std::function<void(SourceState)> state_changed;
    std::function<void(const Decision&)> decided;
};

/// How long the destination may take from the pause to Ready, in seconds, where a pause of
/// `wished_s` was asked for and one of `foretold_s` decided on: longer than either.
[[nodiscard]] double switchover_limit_s(double wished_s, double foretold_s);

/// One migration, seen from the source. Loop thread only. Must not be destroyed while the guest is
/// paused by it: wait for a final state.
class SourceSession {
public:
    /// `machine` and `policy` must outlive the session.
    SourceSession(Machine& machine, const Policy& policy, SourceOptions options,
                  SourceObserver observer);
    ~SourceSession();
    SourceSession(const SourceSession&) = delete;
    SourceSession& operator=(const SourceSession&) = delete;

    /// Begins. Everything, failures included, is told through the observer, later.
    void start();

    /// Gives up for the reason given (a user's cancel, QEMU's death). Refused from the commit on.
    [[nodiscard]] Status give_up(Error reason);

    /// The user's migrate-start-postcopy: the round under way ends, and the guest
    /// moves.
    [[nodiscard]] Status start_postcopy();

    /// The user's migrate-pause, in post-copy: the link is let go, and the destination is not
    /// called before his "migrate" with "resume", which says where it is to be called.
    [[nodiscard]] Status break_postcopy();
    [[nodiscard]] Status resume_at(MigrationAddress address);

    /// The user's migrate-continue, in pre-switchover.
    [[nodiscard]] Status continue_switchover();

    /// The guest arrived paused at its destination, and its user here wants to run it after all.
    /// `done` says whether it is ours again, once the destination has said so or is certainly gone.
    void take_back(std::function<void(Status)> done);

    /// In Asking, the operator's word: `guest_is_here` says that the destination certainly does not
    /// run the guest, and never will. In PostcopyPaused he may only say that it is over: the guest
    /// has run there.
    [[nodiscard]] Status resolve(bool guest_is_here);

    void set_max_bandwidth(uint64_t bytes_per_second, uint64_t in_postcopy);
    void set_wish(const MigrationWish& wish);

    /// After a failure in the blackout: who still tries to tell the destination so, if anybody. To
    /// be kept when the session is not.
    [[nodiscard]] std::unique_ptr<CommitAsker> take_teller();

    [[nodiscard]] SourceState state() const { return state_; }
    [[nodiscard]] const SourceReport& report() const { return report_; }
    [[nodiscard]] double elapsed_s() const;
    [[nodiscard]] const SendProgress* progress() const; ///< null before the first round
    [[nodiscard]] EncodingTotals encodings() const;     ///< of the rounds so far
    /// Paused, and waiting for continue_switchover().
    [[nodiscard]] bool awaits_continue() const { return awaits_continue_; }

private:
    // source.cpp: life of the session
    void enter(SourceState next);
    void fail(Error error);
    void unwind();
    void ended_unwinding(Status status);
    void retire_sender();
    void sender_retired();
    void complete();
    void protocol_error(const stream::Frame& frame);
    void control_closed(Error error);
    [[nodiscard]] bool take_askers_connection();
    void handle(const stream::Frame& frame);

    // source_setup.cpp: up to the first round
    void open_tunnel(Result<Socket> socket);
    void open_control();
    [[nodiscard]] std::unique_ptr<Connecting> dial(std::function<void(Result<Socket>)> done);
    void connected(Result<Socket> socket);
    void describe_and_greet();
    void welcomed(const stream::Frame& frame);
    void connect_channels(unsigned count);
    void channel_connected(Result<Socket> socket);
    void begin_copying();

    // source_copy.cpp: rounds
    void start_round(RamSender::Round kind);
    void round_sent(Result<RoundStats> stats);
    void sending_failed(Error error);
    void round_acknowledged(const stream::Frame& frame);
    void complete_round();
    void dirty_counted(Result<RamSender::DirtyCount> left);
    void end_round();
    void decide();
    void act(const Decision& decision);
    void start_next_round();
    void set_slowdown(double slowdown, double write_rate = 0);

    // source_reconnect.cpp: the link broke while the guest was copied
    [[nodiscard]] bool can_reconnect(const Error& error) const;
    void reconnect(const Error& why);
    void link_broke(const Error& why);
    void call_for_rest();
    void nobody_reached(const Error& error);
    void link_is_back();
    void point_told(const stream::Frame& frame);
    void go_on_if_ready();
    void go_on();

    // source_switchover.cpp: from the decision to the end
    void begin_switchover();
    void next_switching_round();
    void guest_paused(bool ran);
    void next_paused_round();
    void save_rest();
    void device_data(std::span<const std::byte> data);
    void device_saved();
    void check_all_sent();
    void destination_ready();
    void commit();
    void ask(const Error& why);
    void call_destination(SourceState state);
    void answered(stream::Outcome outcome);

    // source_take_back.cpp: it arrived paused there, and may be wanted here again
    void keep_link();
    void link_ended();
    void call_for_guest();
    void destination_unreachable(const Error& error);
    void has_run_there();
    void taken_back(Status status);

    // source_postcopy.cpp: the guest runs there, and lacks pages
    void warn_of_no_postcopy() const;
    [[nodiscard]] bool may_postcopy() const;
    [[nodiscard]] uint64_t last_round_budget() const;
    void serve_pages();
    void guest_runs_there();
    [[nodiscard]] bool is_early_request(const stream::Frame& frame) const;
    [[nodiscard]] Status handle_postcopy(const stream::Frame& frame);
    void all_is_there();
    void guest_died_there(Error error);
    void pause_postcopy(const Error& why);
    void resume_postcopy();
    void resumed(uint64_t missing);

    Machine& machine_;
    const Policy& policy_;
    SourceOptions options_;
    SourceObserver observer_;
    SourceState state_ = SourceState::Connecting;
    SourceReport report_;
    TimePoint started_{};
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    // setup
    stream::Hello hello_;
    EncodingBounds encodings_;                ///< that the destination takes
    std::unique_ptr<stream::Tunnel> tunnel_;  ///< for Kind::Fd
    std::unique_ptr<TlsHandshake> handshake_; ///< over the socket of Kind::Fd
    MigrationPeer ask_peer_;                  ///< whom to call again; Kind::Fd: nobody
    std::unique_ptr<Connecting> connecting_;
    std::vector<std::unique_ptr<Connecting>> channels_connecting_;
    std::vector<std::unique_ptr<Channel>> channels_;
    unsigned channels_wanted_ = 0;
    ControlLink control_;

    // copying
    RateLimit limit_;
    std::unique_ptr<RamSender> sender_;
    std::thread reaper_;            ///< destroys a sender that is done with
    bool retiring_ = false;         ///< it has not yet
    std::optional<Status> unwound_; ///< all else has been undone; how
    TimePoint round_started_{};
    bool round_under_way_ = false;
    bool round_counting_ = false;          ///< its end is counted: what it left
    std::optional<RoundStats> round_sent_; ///< of the round under way
    unsigned acked_round_ = 0;             ///< the latest that the destination acknowledged
    double acked_s_ = 0;                   ///< since that round's start
    loop::Source next_round_timer_;
    loop::Source last_words_timer_; ///< a data connection broke; the destination may say why

    // a link that broke
    bool resume_agreed_ = false;
    bool sender_stopped_ = false;
    uint64_t carried_ = 0;                     ///< frames, as the destination told last
    std::optional<stream::ResumePoint> point_; ///< since the destination has answered
    TimePoint broken_at_{};
    TimePoint refused_since_{}; ///< nobody listens there; the epoch: that is not so
    double broken_s_ = 0;       ///< of the round under way: without a link
    std::chrono::milliseconds call_pause_{};
    loop::Source call_timer_;
    loop::Source give_up_timer_;

    // switchover
    bool saving_ = false;   ///< the machine has been asked to save
    bool guest_ran_ = true; ///< until it was paused for the switchover
    TimePoint paused_at_{};
    bool awaits_continue_ = false;
    bool caught_up_ = false; ///< a round has been made since the pause
    bool last_round_sent_ = false;
    bool ready_ = false; ///< the destination is
    /// The destination has been greeted: it may wait for us, for a while where a copy goes on after
    /// a break, and for ever when it is Ready.
    bool may_be_awaited_ = false;
    bool tell_later_ = false; ///< the link broke meanwhile: tell the destination when it is back
    bool device_saved_ = false;
    RunningChecksum checksum_; ///< of the device state so far
    loop::Source switchover_timer_;
    std::unique_ptr<CommitAsker> asker_;

    // a guest that arrived paused
    bool give_back_agreed_ = false;
    bool word_may_be_lost_ = false; ///< that the guest, which arrived paused, was run there
    std::function<void(Status)> taking_back_;
    loop::Source taking_back_timer_;

    // post-copy
    bool postcopy_agreed_ = false;
    bool paused_by_user_ = false;   ///< then only he ends it
    bool postcopy_wanted_ = false;  ///< by the user
    bool postcopy_decided_ = false; ///< nothing more is sent before the pause
    /// may_postcopy(), when the last round began: what was told then must be served, whatever the
    /// user permits since.
    std::optional<bool> tells_missing_;
    bool all_there_ = false; ///< the destination says so
    std::unique_ptr<PageServer> server_;
    std::vector<stream::PageRequest> early_requests_; ///< before there was a server
    std::vector<PageBitmap> told_missing_;            ///< while a link is being resumed
};

} // namespace drover
