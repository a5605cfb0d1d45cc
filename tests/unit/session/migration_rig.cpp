// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration_rig.h"

#include "../stream/run_loop.h"

#include <filesystem>

namespace drover::testing {

namespace {

std::string make_directory()
{
    std::string path = ::testing::TempDir() + "drover-rig-XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    return path;
}

std::vector<std::byte> some_state(size_t size, uint64_t seed)
{
    std::vector<std::byte> state;
    while (state.size() < size) {
        const auto page = page_content(seed++);
        state.insert(state.end(), page.begin(), page.end());
    }
    state.resize(size);
    return state;
}

} // namespace

MigrationAddress unix_address(const std::string& path)
{
    MigrationAddress address;
    address.kind = MigrationAddress::Kind::Unix;
    address.path = path;
    return address;
}

void fill_ram(FakeRam& ram)
{
    uint64_t seed = 1000;
    for (size_t block = 0; block < ram.blocks().size(); ++block) {
        const uint64_t pages = ram.blocks()[block].pages();
        for (uint64_t page = 0; page < pages; ++page) {
            if (page % 16 < 9) {
                EXPECT_TRUE(ram.write(block, page, ++seed));
            } else if (page % 16 < 11) {
                EXPECT_TRUE(ram.write_zeros(block, page));
            }
        }
    }
}

MigrationRig::MigrationRig(const RigOptions& options)
    : here("the source", witness, options.blocks, options.collects_ranges),
      there("the destination", witness, options.blocks, options.collects_ranges), options_(options),
      directory_(make_directory())
{
    policy.rounds = options.rounds;
    policy.postcopy = options.postcopy;
    there.has_postcopy = options.postcopy;
    here.boot(true);
    fill_ram(here.fake_ram);
    here.early_state = some_state(3000, 1);
    here.late_state = some_state(5000, 2);
    there.original = &here;
    if (options.relay)
        relay = std::make_unique<Relay>(directory_ + "/relay", directory_ + "/door");
    open_door();
}

MigrationRig::~MigrationRig()
{
    source.reset();
    door.reset();
    relay.reset();
    run_ready();
    std::filesystem::remove_all(directory_);
}

void MigrationRig::open_door()
{
    door = std::make_unique<IncomingDoor>(
        there, "drover test", options_.door_tls,
        IncomingDoor::Callbacks{
            .state_changed =
                [this](DestinationState state) {
                    destination_states.push_back(state);
                    if (on_destination)
                        on_destination(state);
                },
            .turned_away = [this](const Error& error,
                                  const std::string&) { turned_away.push_back(error); },
            .given_back =
                [this] {
                    loop::post([this] { // its process dies
                        there.kill();
                        door->session()->machine_died({ErrorKind::Machine, "it was ended", ""});
                    });
                },
        });
    MigrationAddress listen = unix_address(directory_ + "/door");
    if (options_.tcp) {
        listen.kind = MigrationAddress::Kind::Tcp;
        listen.host = "127.0.0.1";
        listen.port = "0";
    }
    const Status listening = door->listen(listen);
    EXPECT_TRUE(listening) << listening.error().text();
}

MigrationAddress MigrationRig::address() const
{
    return relay ? relay->address() : door->listening()->address();
}

void MigrationRig::start()
{
    SourceOptions options;
    options.destination = {address(), options_.source_tls};
    options.channels = options_.channels;
    options.pause_before_switchover = options_.pause_before_switchover;
    options.software = "drover test";
    options.max_bandwidth = options.max_postcopy_bandwidth = options_.max_bandwidth;
    options.wish.on_stall = options_.on_stall;
    options.wish.reconnect_s = options_.reconnect_s;
    options.wish.deadline_s = options_.deadline_s;
    options.wish.verify = options_.verify;
    source_states = {SourceState::Connecting};
    source = std::make_unique<SourceSession>(here, policy, std::move(options),
                                             SourceObserver{
                                                 .state_changed =
                                                     [this](SourceState state) {
                                                         source_states.push_back(state);
                                                         if (on_source)
                                                             on_source(state);
                                                     },
                                                 .decided = [](const Decision&) {},
                                             });
    source->start();
}

bool MigrationRig::run_to(SourceState state)
{
    return run_until([&] { return source->state() == state; });
}

bool MigrationRig::run_to(DestinationState state)
{
    return run_until([&] { return destination_state() == state; });
}

bool MigrationRig::run_to_held(const FakeMachine& machine, FakeMachine::Step step)
{
    return run_until([&] { return machine.holds(step); });
}

bool MigrationRig::run_to_end()
{
    if (!run_until([&] { return is_final(source->state()); }))
        return false;
    run_ready();
    return true;
}

void MigrationRig::cancel()
{
    const Status given_up = source->give_up({ErrorKind::Cancelled, "the test gave up", ""});
    EXPECT_TRUE(given_up) << given_up.error().text();
}

const Error* MigrationRig::source_error() const
{
    const auto& error = source->report().error;
    return error ? &*error : nullptr;
}

DestinationState MigrationRig::destination_state()
{
    return door && door->session() ? door->session()->state() : DestinationState::Greeting;
}

void MigrationRig::expect_moved()
{
    EXPECT_EQ(source->state(), SourceState::Completed);
    EXPECT_EQ(destination_state(), DestinationState::Completed);
    EXPECT_EQ(witness.runner(), "the destination");
    EXPECT_EQ(here.abandons, 0);
    EXPECT_EQ(there.take_overs, 1);
    EXPECT_FALSE(source_error()) << source_error()->text();
    std::vector<std::byte> saved = here.early_state;
    saved.insert(saved.end(), here.late_state.begin(), here.late_state.end());
    EXPECT_TRUE(there.loaded == saved);
}

void MigrationRig::expect_stayed()
{
    EXPECT_EQ(source->state(), SourceState::Failed);
    EXPECT_EQ(witness.runner(), "the source");
    EXPECT_EQ(here.abandons, here.begin_saves);
    EXPECT_FALSE(here.fake_ram.tracking());
    EXPECT_TRUE(source_error());
}

} // namespace drover::testing
