// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "migration/session/control_link.h"
#include "migration/session/destination_state.h"
#include "migration/session/judgement.h"
#include "migration/session/page_fetcher.h"
#include "migration/session/ram_receiver.h"
#include "migration/stream/frame_io.h"
#include "migration/stream/hello.h"
#include "util/running_checksum.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace drover {

struct DestinationReport {
    std::string source;          ///< the peer's address
    std::string source_software; ///< "drover 0.1.0"
    unsigned rounds = 0;
    uint64_t device_bytes = 0;
    double load_s = 0; ///< what the hypervisor needed to load the device state
    double total_s = 0;
    bool postcopy = false;           ///< it ran before all of its RAM was here
    unsigned link_breaks = 0;        ///< in the copy, and in post-copy
    std::optional<Error> link_error; ///< why the link broke, as long as it is away
    double link_broken_s = 0;        ///< when that was
    std::optional<Error> error;
};

/// Callbacks to the owner. `refused` and `state_changed(Failed)` may be followed by the session's
/// destruction, but not from within.
struct DestinationObserver {
    std::function<void(DestinationState)> state_changed;
    /// The hello was not accepted: nothing has happened to the machine, and another may come.
    std::function<void(const Error&)> refused;
    /// The source takes the guest back, which never ran here: the hypervisor is to be ended, and
    /// machine_died() to be called then.
    std::function<void()> given_back = [] {};
};

/// One migration, seen from the destination, from its control connection on. Loop thread only.
class DestinationSession {
public:
    /// `control`: its preamble (role Control) has been read.
    DestinationSession(Machine& machine, Socket control, std::string peer, std::string software,
                       DestinationObserver observer);
    ~DestinationSession();
    DestinationSession(const DestinationSession&) = delete;
    DestinationSession& operator=(const DestinationSession&) = delete;

    /// A data connection; its preamble has been read.
    void add_data(Socket socket);

    /// Asks the source for pages, over the connection on which it has called.
    using AskForPages = std::function<void(const stream::PageRequest&)>;

    /// Somebody asks what became of the session `token`. If it is this one and Ready, their
    /// connection may carry the commit. `done` gets what to answer: at once, or when it is certain;
    /// until then `pages` may be used, if it is this session.
    void asked(const stream::SessionToken& token, std::function<void(stream::Outcome)> done,
               AskForPages pages);

    /// The source's Commit, on the control or an ask connection. `done` gets the frame to answer;
    /// until then `pages` may be used (none: the control connection is).
    void commit(std::function<void(stream::FrameType)> done, AskForPages pages = nullptr);
    /// Pages that were asked for so. Fails if they are none that can be.
    [[nodiscard]] Status take_pages(const stream::Frame& frame);
    /// A source that was told that pages are missing, or that its copy may go on, does so over this
    /// connection.
    void resume(std::unique_ptr<stream::FrameConnection> connection);
    /// The source's user wants the guest back, which arrived paused: it gets it, if nobody has run
    /// it here. `done` gets the frame to answer: Abort once nothing of the guest is here any more.
    void give_back(std::function<void(stream::FrameType)> done);
    /// The user is about to run the guest, or to move it on: from now on it stays ours, and the
    /// source is told. Refused when it was given back.
    [[nodiscard]] Status claim();
    [[nodiscard]] bool is_given_back() const { return given_back_; }
    /// Sends such an answer, an Abort with its reason.
    [[nodiscard]] stream::Outcome committed_outcome() const;
    void answer(stream::FrameConnection& connection, stream::FrameType type) const;

    /// Gives up (the hypervisor died, the user quit). Does nothing once the guest is ours.
    void fail(Error error);

    /// Gives up for a reason that has nothing to do with the source, up to Ready: from then on the
    /// source may have committed and be gone, and what is here may be the only copy of the guest.
    void give_up(Error error);

    /// The hypervisor is gone, and the guest with it if it was ours: the source is told.
    void machine_died(const Error& how);

    /// In Ready, with the link broken, the operator's word that the source will not run the guest.
    [[nodiscard]] Status resolve(bool guest_is_here);

    [[nodiscard]] DestinationState state() const { return state_; }
    [[nodiscard]] const DestinationReport& report() const { return report_; }
    [[nodiscard]] const RamReceiver* receiver() const { return receiver_.get(); }
    [[nodiscard]] const PageFetcher* fetcher() const { return fetcher_.get(); } ///< in post-copy
    [[nodiscard]] double elapsed_s() const;
    [[nodiscard]] bool link_is_up() const { return static_cast<bool>(control_); }
    /// It failed after the source had committed: a source that lost the link will call and ask, and
    /// must be told that it may run the guest.
    [[nodiscard]] bool owes_an_answer() const { return owes_answer_; }

private:
    void enter(DestinationState next);
    void handle(const stream::Frame& frame);
    void protocol_error(const stream::Frame& frame);
    void control_closed(Error error);

    void greeted(const stream::Frame& frame);
    void refuse(const Error& error);
    void judged(const Judgement& judgement, Json own_description);
    void prepare(Json own_description);

    // destination_reconnect.cpp: the link broke while RAM came
    [[nodiscard]] bool can_reconnect(const Error& error) const;
    void receiving_failed(Error error);
    void await_source(const Error& why);
    void go_on(std::unique_ptr<stream::FrameConnection> connection);
    void take_connection(std::unique_ptr<stream::FrameConnection> connection);

    void device_header(const stream::Frame& frame);
    void device_data(const stream::Frame& frame);
    void feed(std::span<const std::byte> state);
    void device_end(const stream::Frame& frame);
    void round_ended(stream::RoundEnd end);
    void acknowledge(stream::RoundEnd end);
    void load_prepared();
    void try_load();
    void loaded(Status status);
    void took_over(Status status);

    // destination_postcopy.cpp: the guest is to run before all of its RAM is here
    [[nodiscard]] Status begin_postcopy();
    void page_data(const stream::Frame& frame);
    void ask_by(AskForPages pages);
    void all_here();
    void pause_postcopy(const Error& why);

    Machine& machine_;
    std::string software_;
    DestinationObserver observer_;
    DestinationState state_ = DestinationState::Greeting;
    DestinationReport report_;
    TimePoint started_ = Clock::now();
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    ControlLink control_; ///< null once the link is lost
    loop::Source hello_timer_;
    std::optional<stream::Hello> hello_;
    StateForm form_ = StateForm::Own; ///< of the device state, as agreed
    std::unique_ptr<RamReceiver> receiver_;
    std::unique_ptr<PageFetcher> fetcher_;
    bool resume_agreed_ = false;
    double reconnect_s_ = 0;      ///< as the source wishes
    stream::SessionToken join_{}; ///< what data connections have to name
    uint32_t acknowledged_round_ = 0;
    bool switching_ = false; ///< device state has begun to come
    loop::Source give_up_timer_;
    bool postcopy_agreed_ = false;
    bool arrived_outcome_agreed_ = false;
    AskForPages ask_for_pages_; ///< in TakingOver, where there is no control connection

    std::vector<std::function<void()>> taken_over_; ///< who waits for the end of TakingOver
    bool arrived_paused_ = false;                   ///< taken over, but not run here
    bool claimed_ = false;                          ///< run here since, or moved on
    bool given_back_ = false;                       ///< it will never run here
    std::vector<std::function<void(stream::FrameType)>> giving_back_; ///< who waits for that
    bool owes_answer_ = false;
    bool died_ = false; ///< the hypervisor, when the guest was ours
    bool run_ = true;   ///< the guest ran at the source
    bool ram_complete_ = false;
    bool device_complete_ = false;
    bool feeding_ = false; ///< RAM is complete, and device state goes straight to the machine
    std::vector<std::byte> held_; ///< device state since the pause
    bool load_is_prepared_ = true;
    std::vector<stream::RoundEnd> to_acknowledge_; ///< once it is
    RunningChecksum checksum_;
    TimePoint load_started_{};
};

} // namespace drover
