// SPDX-License-Identifier: GPL-2.0-or-later
#include "../stream/run_loop.h"
#include "migration/stream/frame_io.h"
#include "migration_rig.h"

#include <cstring>
#include <gtest/gtest.h>
#include <optional>
#include <sys/socket.h>
#include <sys/un.h>

namespace drover::testing {
namespace {

using Step = FakeMachine::Step;
using Act = FakeMachine::Act;
using stream::ConnectionRole;
using stream::FrameConnection;
using stream::FrameType;

UniqueFd call(const MigrationAddress& address)
{
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    address.path.copy(to.sun_path, sizeof to.sun_path - 1);
    EXPECT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    return socket;
}

/// Somebody at the door who speaks the protocol, but not as agreed.
struct Caller {
    std::unique_ptr<FrameConnection> connection;
    std::vector<FrameType> heard;
    std::vector<stream::Outcome> outcomes;
    std::optional<Error> told; ///< by Refuse or Abort
    bool closed = false;

    Caller(const MigrationAddress& address, ConnectionRole role)
    {
        connection = std::make_unique<FrameConnection>(
            call(address), role, true, false,
            FrameConnection::Callbacks{[this](const stream::Frame& frame) { hear(frame); },
                                       [this](const Error&) { closed = true; }});
    }
    void hear(const stream::Frame& frame)
    {
        heard.push_back(frame.header.type);
        if (frame.header.type == FrameType::Outcome)
            outcomes.push_back(static_cast<stream::Outcome>(*stream::decode_u32(frame.payload)));
        if (frame.header.type == FrameType::Refuse || frame.header.type == FrameType::Abort)
            told = stream::error_from_json(*stream::decode_json(frame.payload));
    }
};

bool wait_refused(const Caller& caller)
{
    return run_until([&] { return caller.told.has_value(); });
}

/// A migration that is held in Copying.
struct DoorTest : ::testing::Test {
    DoorTest() { rig.policy.rounds = 1'000'000; }
    void copy()
    {
        rig.start();
        ASSERT_TRUE(run_until([&] { return !rig.source->report().rounds.empty(); }));
    }
    void finish()
    {
        rig.policy.rounds = 1;
        ASSERT_TRUE(rig.run_to_end());
        rig.expect_moved();
        EXPECT_TRUE(same_ram(rig.here.fake_ram, rig.there.fake_ram));
    }
    MigrationRig rig;
};

/// It could have the destination take on another guest's form in the midst of a migration.
TEST_F(DoorTest, AProbeEndsWhenAMigrationBegins)
{
    const Caller prober(rig.address(), ConnectionRole::Probe);
    ASSERT_TRUE(run_until([&] { return !prober.heard.empty(); }));
    copy();
    const TimePoint begun = Clock::now();
    EXPECT_TRUE(run_until([&] { return prober.closed; }));
    EXPECT_LT(seconds_since(begun), 5) << "a probe's own limit is 10 s";
    finish();
}

TEST_F(DoorTest, ASecondSourceIsToldThatItIsBusy)
{
    copy();
    Witness other_witness;
    FakeMachine other("another source", other_witness, {{"ram", 96}}, true);
    other.boot(true);
    SourceOptions options;
    options.destination.address = rig.address();
    SourceSession second(other, rig.policy, std::move(options),
                         {.state_changed = [](SourceState) {}, .decided = [](const Decision&) {}});
    second.start();
    ASSERT_TRUE(run_until([&] { return is_final(second.state()); }));
    EXPECT_EQ(second.state(), SourceState::Failed);
    EXPECT_EQ(second.report().error->kind, ErrorKind::Refused);
    EXPECT_NE(second.report().error->message.find("coming in already"), std::string::npos);
    EXPECT_EQ(other_witness.runner(), "another source");
    ASSERT_EQ(rig.turned_away.size(), 1U);
    finish();
}

TEST_F(DoorTest, StrangersDoNotDisturb)
{
    copy();
    UniqueFd silent = call(rig.address());
    const UniqueFd http = call(rig.address());
    ASSERT_EQ(send(http.get(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0), 27);
    UniqueFd hasty = call(rig.address());
    hasty.reset();
    ASSERT_TRUE(run_until([&] { return rig.turned_away.size() == 2; }));
    const bool http_first = rig.turned_away[0].message.find("an HTTP client") != std::string::npos;
    const bool http_second = rig.turned_away[1].message.find("an HTTP client") != std::string::npos;
    EXPECT_NE(http_first, http_second);
    finish();
}

TEST_F(DoorTest, ADataConnectionWithoutTheTokenDisturbsNothing)
{
    copy();
    Caller stranger(rig.address(), ConnectionRole::Data);
    stranger.connection->send(FrameType::Join, stream::encode(stream::Join{{}, 0}));
    ASSERT_TRUE(run_until([&] { return stranger.closed; }));
    Caller mute(rig.address(), ConnectionRole::Data);
    Caller mad(rig.address(), ConnectionRole::Data);
    mad.connection->send(FrameType::Pages, {});
    ASSERT_TRUE(run_until([&] { return mad.closed; }));
    finish();
}

TEST(Door, AControlConnectionThatBeginsWronglyLeavesItOpen)
{
    MigrationRig rig;
    const std::pair<FrameType, stream::Bytes> beginnings[] = {
        {FrameType::Commit, {}},
        {FrameType::RoundEnd, stream::encode(stream::RoundEnd{1, false})},
        {FrameType::Abort, stream::encode_json(Json::object())},
        {FrameType::Hello, stream::encode_json(Json{{"format", 1}})},
        {FrameType::Hello, stream::Bytes(100, std::byte{'{'})},
    };
    size_t callers = 0;
    for (const auto& [type, payload] : beginnings) {
        Caller caller(rig.address(), ConnectionRole::Control);
        caller.connection->send(type, payload);
        ++callers;
        ASSERT_TRUE(run_until([&] { return caller.closed; })) << stream::frame_name(type);
        ASSERT_TRUE(run_until([&] { return rig.turned_away.size() == callers; }));
        ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));
    }
    { // and one that only closes
        const Caller caller(rig.address(), ConnectionRole::Control);
        ASSERT_TRUE(run_until([&] { return rig.door->session() != nullptr; }));
    }
    ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));
    EXPECT_EQ(rig.there.begin_loads, 0);
    EXPECT_TRUE(rig.destination_states.empty());
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

TEST(Door, AHelloWithAMandatoryFeatureThatIsNotKnownIsRefusedByItsName)
{
    MigrationRig rig;
    stream::Hello hello;
    hello.software = "drover from the future";
    hello.mandatory_features = {"raw-pages", "telepathy"};
    hello.machine = rig.here.description;
    hello.ram = {{"ram", 96 * ram_page_size, ram_page_size}};
    Caller caller(rig.address(), ConnectionRole::Control);
    caller.connection->send_json(FrameType::Hello, hello.to_json());
    ASSERT_TRUE(wait_refused(caller));
    EXPECT_EQ(caller.heard, std::vector{FrameType::Refuse});
    EXPECT_EQ(caller.told->kind, ErrorKind::Incompatible);
    EXPECT_NE(caller.told->message.find("telepathy"), std::string::npos);
    ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));
    rig.start();
    ASSERT_TRUE(rig.run_to_end());
    rig.expect_moved();
}

// Who may commit.

/// A migration whose destination is Ready, the source being out of reach.
struct ReadyTest : ::testing::Test {
    ReadyTest() : rig({.relay = true})
    {
        rig.relay->judge = [this](const Relay::Passing& passing) {
            if (passing.type != FrameType::Commit)
                return Relay::Verdict::Pass;
            rig.relay->refuses = true;
            return Relay::Verdict::CutBefore;
        };
        rig.start();
        EXPECT_TRUE(rig.run_to(SourceState::Asking));
        EXPECT_TRUE(run_until([&] { return !rig.door->session()->link_is_up(); }));
        door_address = rig.door->listening()->address();
    }
    void let_the_source_ask()
    {
        EXPECT_EQ(rig.witness.runner(), "");
        EXPECT_EQ(rig.there.take_overs, 0);
        rig.relay->judge = nullptr;
        rig.relay->refuses = false;
        ASSERT_TRUE(rig.run_to_end());
        rig.expect_moved();
    }
    MigrationRig rig;
    MigrationAddress door_address;
};

TEST_F(ReadyTest, ACommitWithoutATokenIsIgnored)
{
    Caller stranger(door_address, ConnectionRole::Ask);
    stranger.connection->send(FrameType::Commit);
    const stream::SessionToken token{};
    stranger.connection->send(FrameType::Ask, token); // answered after the Commit was ignored
    ASSERT_TRUE(run_until([&] { return !stranger.outcomes.empty(); }));
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready);
    let_the_source_ask();
}

TEST_F(ReadyTest, ACommitWithAnotherTokenIsIgnored)
{
    Caller stranger(door_address, ConnectionRole::Ask);
    const stream::SessionToken token{std::byte{1}};
    stranger.connection->send(FrameType::Ask, token);
    stranger.connection->send(FrameType::Commit);
    stranger.connection->send(FrameType::Ask, token);
    ASSERT_TRUE(run_until([&] { return stranger.outcomes.size() == 2; }));
    EXPECT_EQ(stranger.outcomes[0], stream::Outcome::Unknown);
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready);
    let_the_source_ask();
}

TEST_F(ReadyTest, ATokenOfAnotherLengthIsIgnored)
{
    Caller stranger(door_address, ConnectionRole::Ask);
    stranger.connection->send(FrameType::Ask, stream::Bytes(15));
    stranger.connection->send(FrameType::Commit);
    const stream::SessionToken token{};
    stranger.connection->send(FrameType::Ask, token);
    ASSERT_TRUE(run_until([&] { return !stranger.outcomes.empty() || stranger.closed; }));
    EXPECT_EQ(rig.destination_state(), DestinationState::Ready);
    let_the_source_ask();
}

TEST_F(ReadyTest, ACommitOnANewControlConnectionIsRefused)
{
    Caller stranger(door_address, ConnectionRole::Control);
    stranger.connection->send(FrameType::Commit);
    ASSERT_TRUE(wait_refused(stranger));
    EXPECT_EQ(stranger.told->kind, ErrorKind::Refused);
    let_the_source_ask();
}

TEST(Ask, OfADoorThatNobodyCameTo)
{
    MigrationRig rig;
    Caller caller(rig.address(), ConnectionRole::Ask);
    const stream::SessionToken token{};
    caller.connection->send(FrameType::Ask, token);
    ASSERT_TRUE(run_until([&] { return !caller.outcomes.empty(); }));
    EXPECT_EQ(caller.outcomes[0], stream::Outcome::Unknown);
    EXPECT_FALSE(rig.door->session());
}

/// Somebody who says hello as `role`, claims a megabyte of pages, and waits for them to be awaited.
UniqueFd claim_pages(const MigrationAddress& address, ConnectionRole role)
{
    UniqueFd socket = call(address);
    const auto preamble = stream::encode_preamble(role);
    const auto header = stream::encode_header({.type = FrameType::Pages, .payload_size = 1U << 20});
    EXPECT_EQ(send(socket.get(), preamble.data(), preamble.size(), 0),
              static_cast<ssize_t>(preamble.size()));
    EXPECT_EQ(send(socket.get(), header.data(), header.size(), 0),
              static_cast<ssize_t>(header.size()));
    return socket;
}

/// Whether the door hangs up, and not only because nothing came for 10 s; it may say why before.
bool hangs_up(const UniqueFd& socket)
{
    bool late = false;
    const auto guard = loop::after(std::chrono::seconds(5), [&] { late = true; });
    return run_until([&] {
               char buffer[4096];
               ssize_t n = 0;
               while ((n = recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
                   continue;
               return late || n == 0 || errno == ECONNRESET;
           }) &&
           !late;
}

/// The type is looked at before anything is allocated for it.
TEST_F(DoorTest, AStrangerGetsNoRoomForWhatHasNoPlace)
{
    for (const ConnectionRole role : {ConnectionRole::Control, ConnectionRole::Ask,
                                      ConnectionRole::Tunnel, ConnectionRole::Probe})
        EXPECT_TRUE(hangs_up(claim_pages(rig.address(), role))) << static_cast<int>(role);
    ASSERT_TRUE(run_until([&] { return !rig.door->session(); }));
    copy();
    EXPECT_TRUE(hangs_up(claim_pages(rig.address(), ConnectionRole::Data)));
    finish();
}

/// However many strangers ask, or are about to: the guest must not be on neither side for as long.
TEST_F(ReadyTest, ManyWhoAskDoNotKeepTheSourceOut)
{
    std::vector<std::unique_ptr<Caller>> strangers;
    for (int i = 0; i < 300; ++i) {
        strangers.push_back(std::make_unique<Caller>(door_address, ConnectionRole::Ask));
        const stream::SessionToken token{std::byte{1}};
        if (i % 2 == 0)
            strangers.back()->connection->send(FrameType::Ask, token);
        run_ready();
    }
    let_the_source_ask();
}

TEST_F(DoorTest, ManyWhoSayNothingDoNotKeepTheSourceOut)
{
    std::vector<std::unique_ptr<Caller>> idle;
    for (int i = 0; i < 300; ++i) {
        idle.push_back(std::make_unique<Caller>(rig.address(), ConnectionRole::Ask));
        run_ready();
    }
    copy();
    finish();
}

} // namespace
} // namespace drover::testing
