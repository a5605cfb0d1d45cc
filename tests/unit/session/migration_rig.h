// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "fake_machine.h"
#include "migration/session/incoming_door.h"
#include "migration/session/source.h"
#include "relay.h"

#include <memory>
#include <string>
#include <vector>

namespace drover::testing {

/// Switches over after so many rounds.
struct CountingPolicy : Policy {
    unsigned rounds = 1;
    bool postcopy = false; ///< instead of the switchover
    Decision decide(const MigrationWish&, const MigrationStats& stats) const override
    {
        const bool enough = stats.rounds.size() >= rounds;
        const auto end = postcopy ? Decision::Action::Postcopy : Decision::Action::SwitchOver;
        return {.action = enough ? end : Decision::Action::NextRound,
                .predicted_downtime_s = 0.01,
                .reason = "counted"};
    }
};

struct RigOptions {
    std::vector<FakeBlock> blocks = {{"ram", 96}};
    unsigned channels = 2;
    unsigned rounds = 1;
    bool collects_ranges = true;
    bool tcp = false;
    bool relay = false;
    bool pause_before_switchover = false;
    bool postcopy = false; ///< both can, and the policy decides so
    uint64_t max_bandwidth = 0;
    double reconnect_s = 60;
    std::optional<double> deadline_s;
    bool verify = false;
    std::vector<StallAction> on_stall = {StallAction::Switch};
    SharedTlsCredentials source_tls, door_tls; ///< null: in the clear
};

/// A source and a destination in one process, over real sockets, and all that they did.
class MigrationRig {
public:
    explicit MigrationRig(const RigOptions& options = {});
    ~MigrationRig();

    Witness witness;
    FakeMachine here, there;
    CountingPolicy policy;
    std::unique_ptr<Relay> relay;
    std::unique_ptr<IncomingDoor> door;
    std::unique_ptr<SourceSession> source;

    /// Called when a state is entered, from within the session.
    std::function<void(SourceState)> on_source;
    std::function<void(DestinationState)> on_destination;
    std::vector<SourceState> source_states;
    std::vector<DestinationState> destination_states;
    std::vector<Error> turned_away;

    void open_door();
    /// Begins a migration (another one, where one was before).
    void start();

    // Turn the loop until it is so; false after ten seconds.
    [[nodiscard]] bool run_to(SourceState state);
    [[nodiscard]] bool run_to(DestinationState state);
    [[nodiscard]] bool run_to_held(const FakeMachine& machine, FakeMachine::Step step);
    /// The source is in a final state, and all that follows from it has happened.
    [[nodiscard]] bool run_to_end();

    void cancel();
    [[nodiscard]] const Error* source_error() const;
    [[nodiscard]] DestinationState destination_state();

    // How it may end. Exactly one side runs the guest.
    void expect_moved();
    void expect_stayed();

    /// Where the source calls.
    [[nodiscard]] MigrationAddress address() const;

private:
    RigOptions options_;
    std::string directory_;
};

/// Holes, written zeros and random pages, such that every stripe has something to send.
void fill_ram(FakeRam& ram);

[[nodiscard]] MigrationAddress unix_address(const std::string& path);

} // namespace drover::testing
