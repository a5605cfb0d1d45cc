// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a droverd finds that is started after one that was killed, or after a boot.
#include "tests/unit/balancer/host/host_service_testing.h"

#include <fstream>
#include <glib.h>

namespace drover::balancer {
namespace {

using drover::testing::run_until;

TEST_F(HostServiceTest, FindsAgainWhatItHadBeforeItWasKilled)
{
    create(one, "web1");
    const pid_t pid = one.service->vms().find("web1")->record().process.pid;
    restart(one);
    EXPECT_TRUE(run_until([this] { return runs(one, "web1"); }));
    EXPECT_EQ(one.service->vms().find("web1")->record().process.pid, pid);
    Reply again;
    one.service->vms().create({{"definition", definition("web1")}}, again.take());
    EXPECT_FALSE(again.good) << "it must not be started twice";
}

TEST_F(HostServiceTest, GoesOnWithAMigrationAfterItWasKilled)
{
    create(one, "web1");
    const std::string uri = prepare(two, "m-2", "web1");
    restart(two);
    EXPECT_EQ(prepare(two, "m-2", "web1"), uri);
    migrate(one, "m-2", "web1", uri);
    restart(one); // before or after its emulator got the command
    const auto over = [this](Host& host) {
        const std::string now = status(host, "m-2");
        return now == "completed" || now == "failed";
    };
    ASSERT_TRUE(run_until([&] { return over(one); })) << status(one, "m-2");
    const bool moved = status(one, "m-2") == "completed";
    EXPECT_TRUE(run_until([&] { return runs(moved ? two : one, "web1"); }));
    EXPECT_FALSE(runs(moved ? one : two, "web1"));
}

/// A migration whose source stands in its midst, and a droverd there that is killed and cannot read
/// what it knew of the VM.
class UnreadableState : public HostServiceTest {
protected:
    /// As another program starts one, and droverd finds it.
    void adopt_a_foreign_one()
    {
        const std::string socket = root + "/foreign.sock";
        const std::string monitor = "unix:" + socket + ",server=on,wait=off";
        const Json whole = definition("web1");
        std::vector<std::string> words = {
            "/usr/bin/qemu-system-x86_64", "-name", "web1", "-qmp", monitor, "-daemonize"};
        words.insert(words.end(), whole["command"].begin(), whole["command"].end());
        std::vector<char*> pointers;
        for (std::string& word : words)
            pointers.push_back(word.data());
        pointers.push_back(nullptr);
        gint status = -1;
        ASSERT_TRUE(g_spawn_sync(nullptr, pointers.data(), nullptr, G_SPAWN_DEFAULT, nullptr,
                                 nullptr, nullptr, nullptr, &status, nullptr));
        ASSERT_EQ(status, 0); // its monitor is there
        adopt(socket);
    }

    void adopt(const std::string& socket)
    {
        Reply adopted;
        one.service->vms().adopt({{"socket", socket}}, adopted.take());
        ASSERT_TRUE(settled(adopted) && adopted.good) << adopted.error;
    }

    void begin_and_lose_the_state(bool adopted)
    {
        if (adopted)
            adopt_a_foreign_one();
        else
            create(one, "web1");
        emulator = one.service->vms().find("web1")->record();
        migrate(one, "m-1", "web1", prepare(two, "m-1", "web1"));
        ASSERT_TRUE(becomes(one, "m-1", "active") || status(one, "m-1") == "completed");
        ASSERT_EQ(kill(emulator.process.pid, SIGSTOP), 0);
        one.service.reset();
        const std::string state = one.config.state_directory;
        std::ofstream(state + "/vms/web1.json") << "{\"defin";
        start(one);
    }

    bool source_says_that_the_guest_may_be_there()
    {
        Reply reply;
        one.service->moves().query({{"migration", "m-1"}}, reply.take());
        EXPECT_EQ(json_string(reply.value, "status"), "active") << reply.error;
        return json_bool(reply.value, "guest-here");
    }

    VmRecord emulator;
};

TEST_F(UnreadableState, AnEmulatorOfOursIsFoundByItsProcess)
{
    begin_and_lose_the_state(false);
    EXPECT_TRUE(source_says_that_the_guest_may_be_there());
    const Vm* vm = one.service->vms().find("web1");
    ASSERT_NE(vm, nullptr);
    EXPECT_EQ(vm->record().process, emulator.process);
    EXPECT_EQ(vm->record().migration, "m-1");
    kill(emulator.process.pid, SIGCONT);
    EXPECT_TRUE(becomes(one, "m-1", "completed"));
    EXPECT_TRUE(run_until([this] { return runs(two, "web1"); }));
    EXPECT_TRUE(run_until([this] { return one.service->vms().find("web1") == nullptr; }));
}

TEST_F(UnreadableState, AnAdoptedEmulatorIsNotTakenForDead)
{
    begin_and_lose_the_state(true);
    EXPECT_TRUE(source_says_that_the_guest_may_be_there());
    Reply twice;
    one.service->vms().create({{"definition", definition("web1")}}, twice.take());
    EXPECT_NE(twice.error.find("may run"), std::string::npos) << twice.error;
    kill(emulator.process.pid, SIGCONT);
    adopt(emulator.socket); // by the administrator, or by a pattern
    EXPECT_TRUE(becomes(one, "m-1", "completed")) << "it is watched again";
    EXPECT_TRUE(run_until([this] { return runs(two, "web1"); }));
    EXPECT_TRUE(run_until([this] { return one.service->vms().find("web1") == nullptr; }));
}

/// What it says is no word of the one that was in the migration: that one may have handed over.
TEST_F(UnreadableState, AnotherEmulatorOfThatNameSettlesNothing)
{
    begin_and_lose_the_state(true);
    kill_and_wait(emulator.process);
    adopt_a_foreign_one();
    bool asked = false;
    const auto twice = loop::after(std::chrono::milliseconds(1200), [&asked] { asked = true; });
    EXPECT_TRUE(run_until([&asked] { return asked; })); // droverd asks it each half second
    EXPECT_TRUE(source_says_that_the_guest_may_be_there());
    end_by_force(one, "web1");
    EXPECT_TRUE(source_says_that_the_guest_may_be_there()) << "nor does its end";
}

TEST_F(UnreadableState, AnEmulatorOfOursThatIsGoneRunsNothing)
{
    create(one, "web1");
    emulator = one.service->vms().find("web1")->record();
    prepare(two, "m-1", "web1");
    migrate(one, "m-1", "web1", "tcp:127.0.0.1:1");
    one.service.reset();
    kill_and_wait(emulator.process);
    std::ofstream(one.config.state_directory + "/vms/web1.json") << "{";
    start(one);
    Reply reply;
    one.service->moves().query({{"migration", "m-1"}}, reply.take());
    EXPECT_EQ(json_string(reply.value, "status"), "failed");
    EXPECT_FALSE(json_bool(reply.value, "guest-here"));
}

TEST_F(HostServiceTest, AGuestThatCameIsNotEndedWhenItsNextMigrationWasNotBegun)
{
    create(one, "web1");
    migrate(one, "m-1", "web1", prepare(two, "m-1", "web1"));
    ASSERT_TRUE(becomes(two, "m-1", "completed"));
    ASSERT_TRUE(run_until([this] { return runs(two, "web1"); }));
    ASSERT_TRUE(run_until([this] { return one.service->vms().find("web1") == nullptr; }));
    migrate(two, "m-2", "web1", prepare(one, "m-2", "web1"));
    restart(two); // before its emulator got the command
    EXPECT_TRUE(becomes(two, "m-2", "failed")) << status(two, "m-2");
    EXPECT_TRUE(run_until([this] { return runs(two, "web1"); }));
}

TEST_F(HostServiceTest, TidiesUpWhatAKilledDroverdLeft)
{
    create(one, "web1");
    migrate(one, "m-1", "web1", prepare(two, "m-1", "web1"));
    ASSERT_TRUE(run_until([this] { return runs(two, "web1"); }));
    two.service.reset(); // as if it had been killed between the two files
    const std::string file = two.config.state_directory + "/vms/web1.json";
    Json state = *load_state(file);
    state["migration"] = "m-1";
    ASSERT_TRUE(save_state(file, state));
    start(two);
    EXPECT_TRUE(run_until([this] { return runs(two, "web1"); })) << "it rests, and may move again";
    EXPECT_EQ(json_string(*load_state(file), "migration"), "");

    prepare(one, "m-2", "web2");
    one.service.reset();
    const std::string move = one.config.state_directory + "/migrations/m-2.json";
    state = *load_state(move);
    state["status"] = "failed";
    ASSERT_TRUE(save_state(move, state));
    start(one);
    EXPECT_TRUE(run_until([this] { return one.service->vms().find("web2") == nullptr; }));
}

TEST_F(HostServiceTest, NoSourceIsLetInThatARestartWouldNotKnowOf)
{
    Reply reply;
    two.service->moves().prepare({{"migration", "m-1"}, {"definition", definition("web1")}},
                                 reply.take());
    const std::string directory = two.config.state_directory + "/migrations";
    std::filesystem::rename(directory, directory + "-away"); // as if the disk were full
    ASSERT_TRUE(settled(reply));
    EXPECT_FALSE(reply.good);
    EXPECT_TRUE(run_until([this] { return two.service->vms().find("web1") == nullptr; }));
    std::filesystem::rename(directory + "-away", directory);
}

TEST_F(HostServiceTest, StartsAtBootWhatIsToRun)
{
    create(one, "web1");
    create(one, "web2", {{"autostart", true}});
    cut_power(one);
    start(one);
    EXPECT_EQ(shown_state(one, "web1"), "shut-off");
    EXPECT_TRUE(run_until([this] { return runs(one, "web2"); }));
    end_by_force(one, "web2");
    restart(one); // of droverd alone: whoever ended it wants it to be off
    EXPECT_EQ(shown_state(one, "web2"), "shut-off");
}

TEST_F(HostServiceTest, NeverStartsByItselfWhatMayRunElsewhere)
{
    create(one, "web1", {{"autostart", true}});
    migrate(one, "m-1", "web1", prepare(two, "m-1", "web1"));
    cut_power(one); // its emulator may or may not have handed over
    start(one);
    EXPECT_EQ(shown_state(one, "web1"), "shut-off");
    Reply refused;
    one.service->vms().start_kept({{"name", "web1"}}, refused.take());
    EXPECT_NE(refused.error.find("m-1, and may run at its destination"), std::string::npos)
        << refused.error;
    Reply again;
    one.service->vms().create({{"definition", definition("web1")}}, again.take());
    EXPECT_FALSE(again.good);
    Reply forced; // whoever says so has looked
    one.service->vms().start_kept({{"name", "web1"}, {"force", true}}, forced.take());
    EXPECT_TRUE(settled(forced) && forced.good) << forced.error;
}

} // namespace
} // namespace drover::balancer
