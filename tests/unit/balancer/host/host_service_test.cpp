// SPDX-License-Identifier: GPL-2.0-or-later
// Two droverds' worth of VM life in one process, over stock QEMUs without a guest.
#include "contrib/balancer/host/host_service.h"
#include "contrib/balancer/host/state_file.h"
#include "tests/unit/monitor/loop_testing.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

using drover::testing::run_until;

/// What a command answered, as text: its JSON or its error.
struct Reply {
    bool done = false;
    bool good = false;
    Json value;
    std::string error;

    Answer take()
    {
        return [this](const Result<Json>& result) {
            done = true;
            good = result.has_value();
            if (result)
                value = *result;
            else
                error = result.error().text();
        };
    }
};

class HostServiceTest : public ::testing::Test {
protected:
    struct Host {
        DroverdConfig config;
        std::vector<Json> events;
        std::unique_ptr<HostService> service;
    };

    HostServiceTest()
    {
        char path[] = "/tmp/drover-host-XXXXXX"; // short, for the sockets in it
        root = mkdtemp(path);
        for (Host* host : {&one, &two}) {
            host->config = default_droverd_config();
            host->config.name = host == &one ? "h1" : "h2";
            host->config.state_directory = root + "/" + host->config.name;
            host->config.definition_directory.clear(); // below that
            host->config.migrate_address = "127.0.0.1";
            host->config.end_limit_s = 1;
            start(*host);
        }
    }

    ~HostServiceTest() override
    {
        for (Host* host : {&one, &two}) {
            for (Vm* vm : host->service->vms().all())
                kill(vm->record().process.pid, SIGKILL);
            run_until([host] { return host->service->vms().all().empty(); });
        }
        std::filesystem::remove_all(root);
    }

    void start(Host& host)
    {
        host.service = std::make_unique<HostService>(
            host.config, std::vector<std::string>{},
            [&host](const Json& event) { host.events.push_back(event); });
        const Status restored = host.service->restore();
        ASSERT_TRUE(restored) << restored.error().text();
    }

    /// As if droverd were killed and started again.
    void restart(Host& host)
    {
        host.service.reset();
        start(host);
    }

    static void end_by_force(Host& host, const std::string& name)
    {
        Reply reply;
        host.service->vms().end({{"name", name}, {"force", true}}, reply.take());
        EXPECT_TRUE(settled(reply) && reply.good) << reply.error;
        EXPECT_TRUE(run_until([&] { return host.service->vms().find(name) == nullptr; }));
    }

    static void kill_and_wait(const ProcessId& process)
    {
        bool gone = false;
        const ProcessWatch watch(process, [&gone] { gone = true; });
        kill(process.pid, SIGKILL);
        EXPECT_TRUE(run_until([&gone] { return gone; }));
    }

    /// Its processes are gone, and what was in /run; the next start is the next boot.
    void cut_power(Host& host)
    {
        std::vector<ProcessId> processes;
        for (const Vm* vm : host.service->vms().all())
            processes.push_back(vm->record().process);
        host.service.reset();
        for (const ProcessId& process : processes)
            kill_and_wait(process);
        const std::string state = host.config.state_directory;
        for (const char* part : {"/vms", "/run", "/migrations", "/definitions/last-boot"})
            std::filesystem::remove_all(state + part);
    }

    static std::string shown_state(Host& host, const std::string& name)
    {
        for (const Json& vm : host.service->vms().list())
            if (json_string(vm, "name") == name)
                return json_string(vm, "state");
        return "gone";
    }

    static Json definition(const std::string& name)
    {
        return {{"name", name},
                {"kind", "qemu"},
                {"command",
                 {"-nodefaults", "-no-user-config", "-display", "none", "-M", "isapc", "-accel",
                  "tcg", "-m", "16"}}};
    }

    static bool settled(const Reply& reply)
    {
        return run_until([&reply] { return reply.done; });
    }

    static void create(Host& host, const std::string& name, const Json& more = Json::object())
    {
        Json whole = definition(name);
        whole.update(more);
        Reply reply;
        host.service->vms().create({{"definition", whole}}, reply.take());
        ASSERT_TRUE(settled(reply) && reply.good) << reply.error;
        ASSERT_TRUE(run_until([&] {
            const Vm* vm = host.service->vms().find(name);
            return vm != nullptr && vm->state() == VmState::Running;
        }));
    }

    std::string prepare(Host& host, const std::string& id, const std::string& name,
                        const std::string& owner = "b-1")
    {
        Reply reply;
        host.service->moves().prepare(
            {{"migration", id}, {"definition", definition(name)}, {"owner", owner}}, reply.take());
        EXPECT_TRUE(settled(reply) && reply.good) << reply.error;
        return json_string(reply.value, "uri");
    }

    static std::string status(Host& host, const std::string& id)
    {
        Reply reply;
        host.service->moves().query({{"migration", id}}, reply.take());
        return reply.good ? json_string(reply.value, "status") : reply.error;
    }

    static bool becomes(Host& host, const std::string& id, const std::string& wanted)
    {
        return run_until([&] { return status(host, id) == wanted; });
    }

    static void migrate(Host& host, const std::string& id, const std::string& name,
                        const std::string& uri)
    {
        Reply reply;
        host.service->moves().migrate({{"migration", id}, {"name", name}, {"uri", uri}},
                                      reply.take());
        EXPECT_TRUE(reply.good) << reply.error;
    }

    static bool runs(Host& host, const std::string& name)
    {
        const Vm* vm = host.service->vms().find(name);
        return vm != nullptr && vm->state() == VmState::Running;
    }

    std::string root;
    Host one;
    Host two;
};

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
