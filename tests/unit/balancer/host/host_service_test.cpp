// SPDX-License-Identifier: GPL-2.0-or-later
//
// VMs and their migrations under a droverd that lives.
#include "tests/unit/balancer/host/host_service_testing.h"

#include <netinet/in.h>

namespace drover::balancer {
namespace {

using drover::testing::run_until;

TEST_F(HostServiceTest, MovesAVmAndEndsTheOldEmulator)
{
    create(one, "web1");
    const std::string uri = prepare(two, "m-1", "web1");
    EXPECT_EQ(prepare(two, "m-1", "web1"), uri) << "asked again: the same answer";
    migrate(one, "m-1", "web1", uri);
    migrate(one, "m-1", "web1", uri); // asked again: nothing happens
    EXPECT_TRUE(becomes(two, "m-1", "completed"));
    EXPECT_TRUE(becomes(one, "m-1", "completed"));
    EXPECT_TRUE(run_until([this] { return runs(two, "web1"); }));
    EXPECT_TRUE(run_until([this] { return one.service->vms().find("web1") == nullptr; }));
    Reply reply;
    two.service->moves().abandon({{"migration", "m-1"}, {"owner", "b-1"}}, reply.take());
    ASSERT_TRUE(settled(reply));
    EXPECT_FALSE(reply.good) << "the guest runs here";
    EXPECT_TRUE(runs(two, "web1"));
}

TEST_F(HostServiceTest, EndsAnEmulatorThatIsStuck)
{
    create(one, "web1");
    kill(one.service->vms().find("web1")->record().process.pid, SIGSTOP);
    Reply reply;
    one.service->vms().end({{"name", "web1"}, {"force", true}}, reply.take());
    ASSERT_TRUE(settled(reply) && reply.good) << reply.error;
    EXPECT_TRUE(run_until([this] { return one.service->vms().find("web1") == nullptr; }));
}

TEST_F(HostServiceTest, NoticesAnEmulatorThatIsStuck)
{
    create(one, "web1");
    const VmRecord record = one.service->vms().find("web1")->record();
    one.service.reset(); // its monitor has one client at a time
    bool up = false;
    bool down = false;
    EmulatorLink link(
        record.socket,
        {.up = [&] { up = true; }, .down = [&] { down = true; }, .event = [](const Json&) {}},
        {.period = std::chrono::milliseconds(50), .most_unanswered = 3});
    ASSERT_TRUE(run_until([&] { return up; }));
    kill(record.process.pid, SIGSTOP);
    Reply reply;
    link.execute("query-name", Json::object(), reply.take());
    EXPECT_TRUE(run_until([&] { return down; }));
    EXPECT_TRUE(reply.done && !reply.good) << "who waits is told";
    up = false;
    kill(record.process.pid, SIGCONT);
    EXPECT_TRUE(run_until([&] { return up; })) << "it is found again";
    start(one);
}

/// A guest of Xen's that has just come, for which its drover-xen makes way for another one: here an
/// emulator takes its place.
TEST_F(HostServiceTest, AGuestThatIsHandedOverIsNotUnreachable)
{
    for (const bool planned : {true, false}) {
        create(one, "v");
        VmRecord record = one.service->vms().find("v")->record();
        one.service.reset(); // its emulator lives on
        record.takes_in = true;
        bool ended = false;
        std::set<VmState> states;
        Vm vm(record, {.changed = [&](Vm& it) { states.insert(it.state()); },
                       .migration_news = [](Vm&) {},
                       .ended = [&](Vm&) { ended = true; }});
        ASSERT_TRUE(drover::testing::run_until([&] { return vm.knows_state(); }));
        EXPECT_EQ(vm.describe()["settling"], true);
        if (planned)
            vm.hand_over();
        vm.link().execute("quit", Json::object(), [](const Result<Json>&) {});
        ASSERT_TRUE(drover::testing::run_until([&] { return ended && !vm.knows_state(); }));
        EXPECT_EQ(vm.state(), planned ? VmState::Running : VmState::Unreachable);
        EXPECT_EQ(states.contains(VmState::Unreachable), !planned);
        EXPECT_EQ(vm.describe()["settling"], true);
        start(one);
    }
}

TEST_F(HostServiceTest, AGuestIsWhatItIsTakenForUntilItsMonitorAnswers)
{
    create(one, "v");
    VmRecord record = one.service->vms().find("v")->record();
    one.service.reset();
    Vm vm(record, {.changed = [](Vm&) {}, .migration_news = [](Vm&) {}, .ended = [](Vm&) {}});
    EXPECT_EQ(vm.state(), VmState::Unreachable);
    EXPECT_FALSE(vm.describe().contains("settling"));
    vm.assume("paused");
    EXPECT_EQ(vm.state(), VmState::Paused);
    EXPECT_TRUE(vm.describe().contains("settling"));
    ASSERT_TRUE(drover::testing::run_until([&] { return vm.knows_state(); }));
    EXPECT_EQ(vm.state(), VmState::Running);
    EXPECT_FALSE(vm.describe().contains("settling"));
    start(one);
}

/// As that of a drover-xen which stays for a while when its guest has come.
TEST_F(HostServiceTest, APortThatIsListenedAtIsPassedOver)
{
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    socklen_t length = sizeof address;
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener.get(), 1), 0);
    ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    two.config.first_port = ntohs(address.sin_port);
    two.config.last_port = two.config.first_port + 20;
    const std::string uri = prepare(two, "m1", "v");
    EXPECT_TRUE(uri.starts_with("tcp:127.0.0.1:")) << uri;
    EXPECT_NE(uri, "tcp:127.0.0.1:" + std::to_string(two.config.first_port));
}

TEST_F(HostServiceTest, AMigrationThatFailsLeavesTheGuestWhereItWas)
{
    create(one, "web1");
    const std::string uri = prepare(two, "m-3", "web1");
    kill(two.service->vms().find("web1")->record().process.pid, SIGKILL);
    EXPECT_TRUE(becomes(two, "m-3", "failed"));
    migrate(one, "m-3", "web1", uri);
    EXPECT_TRUE(becomes(one, "m-3", "failed"));
    EXPECT_TRUE(run_until([this] { return runs(one, "web1"); }));
    Reply reply;
    one.service->moves().query({{"migration", "m-3"}}, reply.take());
    EXPECT_TRUE(json_bool(reply.value, "guest-here"));
}

TEST_F(HostServiceTest, AbandonsADestinationThatNobodyCameTo)
{
    prepare(two, "m-4", "web1");
    Reply reply;
    two.service->moves().abandon({{"migration", "m-4"}, {"owner", "b-1"}}, reply.take());
    ASSERT_TRUE(settled(reply) && reply.good) << reply.error;
    EXPECT_EQ(status(two, "m-4"), "failed");
    EXPECT_TRUE(run_until([this] { return two.service->vms().find("web1") == nullptr; }));
}

TEST_F(HostServiceTest, OnlyWhoBeganAMigrationEndsIt)
{
    prepare(two, "m-5", "web1");
    restart(two); // whose it is is on the disk
    for (const Json& stranger :
         {Json{{"migration", "m-5"}, {"owner", "b-2"}}, Json{{"migration", "m-5"}}}) {
        Reply reply;
        two.service->moves().abandon(stranger, reply.take());
        ASSERT_TRUE(settled(reply));
        EXPECT_NE(reply.error.find("another balancer's, b-1"), std::string::npos) << reply.error;
    }
    EXPECT_EQ(status(two, "m-5"), "waiting");
    Reply all;
    two.service->moves().query_all(Json::object(), all.take());
    ASSERT_EQ(all.value.size(), 1U);
    EXPECT_EQ(json_string(all.value[0], "owner"), "b-1");
    ASSERT_TRUE(run_until([this] { return two.service->vms().find("web1")->link().is_up(); }));
    Reply operator_says;
    two.service->moves().abandon({{"migration", "m-5"}, {"force", true}}, operator_says.take());
    ASSERT_TRUE(settled(operator_says) && operator_says.good) << operator_says.error;
    EXPECT_EQ(status(two, "m-5"), "failed");
}

TEST_F(HostServiceTest, KeepsAVmThatIsShutOff)
{
    create(one, "web1");
    end_by_force(one, "web1");
    EXPECT_EQ(shown_state(one, "web1"), "shut-off");
    restart(one);
    EXPECT_EQ(shown_state(one, "web1"), "shut-off");
    Reply moved_here;
    one.service->moves().prepare({{"migration", "m-6"}, {"definition", definition("web1")}},
                                 moved_here.take());
    EXPECT_NE(moved_here.error.find("shut off"), std::string::npos) << moved_here.error;
    Reply started;
    one.service->vms().start_kept({{"name", "web1"}}, started.take());
    ASSERT_TRUE(settled(started) && started.good) << started.error;
    EXPECT_TRUE(run_until([this] { return runs(one, "web1"); }));
    Reply busy;
    one.service->vms().forget({{"name", "web1"}}, busy.take());
    EXPECT_FALSE(busy.good);
    end_by_force(one, "web1");
    Reply forgotten;
    one.service->vms().forget({{"name", "web1"}}, forgotten.take());
    EXPECT_TRUE(forgotten.good);
    EXPECT_TRUE(one.service->vms().list().empty());
}

TEST_F(HostServiceTest, AMovedVmBelongsToItsDestination)
{
    create(one, "web1");
    migrate(one, "m-1", "web1", prepare(two, "m-1", "web1"));
    ASSERT_TRUE(becomes(two, "m-1", "completed"));
    ASSERT_TRUE(run_until([this] { return one.service->vms().list().empty(); }));
    cut_power(two);
    start(two);
    EXPECT_EQ(shown_state(two, "web1"), "shut-off");
    Reply started;
    two.service->vms().start_kept({{"name", "web1"}}, started.take());
    EXPECT_TRUE(settled(started) && started.good) << started.error;
}

TEST_F(HostServiceTest, ShutsDownWithinALimit)
{
    create(one, "web1"); // it has no operating system that would hear the power button
    Reply down;
    one.service->vms().shut_down({{"limit", 1}}, down.take());
    Reply late;
    one.service->vms().create({{"definition", definition("web2")}}, late.take());
    EXPECT_NE(late.error.find("shut down"), std::string::npos) << late.error;
    ASSERT_TRUE(settled(down) && down.good) << down.error;
    EXPECT_TRUE(down.value["left"].empty());
    EXPECT_EQ(shown_state(one, "web1"), "shut-off");
}

TEST_F(HostServiceTest, RefusesWhatItCannotKnow)
{
    EXPECT_NE(status(one, "m-9").find("never heard"), std::string::npos);
    Reply unknown;
    one.service->moves().migrate({{"migration", "m-9"}, {"name", "nobody"}, {"uri", "tcp:x:1"}},
                                 unknown.take());
    EXPECT_FALSE(unknown.good);
    create(one, "web1");
    for (const char* uri : {"exec:touch /tmp/x", "file:/tmp/x", "tcp:a:1,b", "tcp:"}) {
        Reply odd_uri;
        one.service->moves().migrate({{"migration", "m-9"}, {"name", "web1"}, {"uri", uri}},
                                     odd_uri.take());
        EXPECT_NE(odd_uri.error.find("tcp:HOST:PORT"), std::string::npos) << uri;
    }
    Reply path;
    one.service->moves().prepare({{"migration", "../../x"}, {"definition", definition("a")}},
                                 path.take());
    EXPECT_FALSE(path.good);
    Reply emulator;
    Json odd = definition("a");
    odd["emulator"] = "/bin/sh";
    one.service->vms().create({{"definition", odd}}, emulator.take());
    EXPECT_FALSE(emulator.good);
    EXPECT_NE(emulator.error.find("/bin/sh"), std::string::npos);
}

TEST_F(HostServiceTest, AnEmulatorThatCannotStartSaysWhy)
{
    Json odd = definition("web1");
    odd["command"] = {"-M", "no-such-machine"};
    Reply reply;
    one.service->vms().create({{"definition", odd}}, reply.take());
    ASSERT_TRUE(settled(reply));
    EXPECT_FALSE(reply.good);
    EXPECT_NE(reply.error.find("unsupported machine type"), std::string::npos) << reply.error;
    EXPECT_EQ(one.service->vms().find("web1"), nullptr);
    create(one, "web1"); // its name is free again
}

} // namespace
} // namespace drover::balancer
