// SPDX-License-Identifier: GPL-2.0-or-later
#include "child.h"
#include "fake_host.h"
#include "monitor/json.h"
#include "vmm/qemu/default_memory.h"
#include "vmm/qemu/launch_plan.h"
#include "vmm/qemu/process.h"
#include "vmm/qemu/ram_file.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

/// Starts the stock QEMU of this host from a planned command line, and talks to it.
class RealQemu : public ::testing::Test {
protected:
    void SetUp() override
    {
        if (!plan_launch("drover-system-x86_64", {}, HostFacts::of_this_host()))
            GTEST_SKIP() << "qemu-system-x86_64 is not installed";
    }

    void start(const std::string& text)
    {
        auto planned = plan_launch("drover-system-x86_64",
                                   words("-accel tcg -display none -nodefaults " + text),
                                   HostFacts::of_this_host());
        ASSERT_TRUE(planned) << planned.error().text();
        plan_ = std::move(*planned);
        std::vector<int> fds;
        for (const RamFile& ram : plan_.ram) {
            auto file = create_ram_file(ram);
            ASSERT_TRUE(file) << file.error().text();
            fds.push_back(file->get());
            files_.push_back(std::move(*file));
        }
        auto sockets = socket_pair();
        ASSERT_TRUE(sockets);
        socket_ = std::move(sockets->first);
        const timeval limit{.tv_sec = 30};
        setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);

        QemuStart start{.binary = plan_.binary, .null_stdio = true};
        start.arguments = qemu_arguments(plan_, fds, std::vector{sockets->second.get()});
        start.keep_fds = fds;
        start.keep_fds.push_back(sockets->second.get());
        process_ = std::make_unique<QemuProcess>(start_child(start), QemuProcess::Exited());
        sockets->second.reset();
        ASSERT_NE(read_line(), "");
        execute("qmp_capabilities");
    }

    std::string read_line()
    {
        std::string line;
        char c = 0;
        while (read(socket_.get(), &c, 1) == 1 && c != '\n')
            line += c;
        return line;
    }

    Json execute(const std::string& command, const std::string& arguments = "{}")
    {
        const std::string text =
            R"({"execute":")" + command + R"(","arguments":)" + arguments + "}\n";
        EXPECT_EQ(send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
        while (true) {
            const std::string line = read_line();
            const Json answer = Json::parse(line, nullptr, false);
            if (line.empty() || answer.contains("error"))
                ADD_FAILURE() << command << ": " << line;
            if (line.empty() || !answer.contains("event"))
                return answer.is_object() ? answer.value("return", Json()) : Json();
        }
    }

    /// "ID=BYTES" of each back-end that is shared, sorted.
    std::vector<std::string> shared_backends()
    {
        std::vector<std::string> list;
        for (const Json& backend : execute("query-memdev"))
            if (backend.value("share", false))
                list.push_back(backend.value("id", "") + "=" +
                               std::to_string(backend.value("size", 0LL) >> 20));
        std::ranges::sort(list);
        return list;
    }

    LaunchPlan plan_;
    std::vector<UniqueFd> files_;
    UniqueFd socket_;
    std::unique_ptr<QemuProcess> process_;
};

struct Case {
    const char* text;
    std::vector<std::string> backends;
};

TEST_F(RealQemu, SaysHowMuchMemoryAMachineHasByDefault)
{
    const std::string binary =
        plan_launch("drover-system-x86_64", {}, HostFacts::of_this_host())->binary;
    EXPECT_EQ(ask_default_memory(binary, "microvm"), 128ULL << 20);
    EXPECT_FALSE(ask_default_memory(binary, "unheard-of"));
    EXPECT_FALSE(ask_default_memory("/no/such/qemu", ""));
}

TEST_F(RealQemu, TakesTheRamAsPlanned)
{
    const Case cases[] = {
        {"-M pc -m 64", {"pc.ram=64"}},
        {"-m 16777217B", {"pc.ram=16"}},
        {"-M microvm -m 0.125G", {"microvm.ram=128"}},
        {"-M pc-i440fx-3.1 -m 64 -mem-prealloc", {"pc.ram=64"}},
        {"-M q35 -m 64 -mem-path /dev/shm", {"pc.ram=64"}},
        {"-M q35,memory-backend=r -object memory-backend-ram,id=r,size=64M,merge=off,dump=off,"
         "host-nodes=0,policy=bind,prealloc=on,prealloc-threads=2 -m 64",
         {"r=64"}},
        {"-M pc -m 64 -smp 2 -object memory-backend-ram,id=a,size=32M -object "
         "memory-backend-memfd,id=b,size=32M -numa node,memdev=a,cpus=0 -numa "
         "node,memdev=b,cpus=1",
         {"a=32", "b=32"}},
        {R"(-M pc,memory-backend=j -m 64 -object '{"qom-type":"memory-backend-memfd","id":"j",)"
         R"("size":67108864,"host-nodes":[0],"policy":"bind","seal":true}')",
         {"j=64"}},
        {"-M pc -m 64,slots=2,maxmem=1G -object memory-backend-ram,id=d,size=128M -device "
         "pc-dimm,memdev=d",
         {"d=128", "pc.ram=64"}},
        {"-M pc,memory-backend=r -m 64 -object memory-backend-ram,id=r,size=64M,reserve=off",
         {"r=64"}},
        {"-M pc -m 64 -incoming tcp:127.0.0.1:1", {"pc.ram=64"}},
    };
    for (const Case& one : cases) {
        SCOPED_TRACE(one.text);
        start(one.text);
        EXPECT_EQ(shared_backends(), one.backends);
        const Json status = execute("query-status");
        EXPECT_FALSE(status.value("running", true));
        EXPECT_EQ(status.value("status", ""), plan_.incoming.present ? "inmigrate" : "prelaunch");
        process_.reset();
        files_.clear();
    }
}

/// The RAM block's name is what QEMU's own stream calls it, so old machine types count.
TEST_F(RealQemu, RamBlocksAreNamedByTheirIds)
{
    for (const char* text : {"-M pc -m 64", "-M pc-i440fx-3.1 -m 64",
                             "-M pc-i440fx-3.1,memory-backend=pc.ram -m 64 -object "
                             "memory-backend-ram,id=pc.ram,size=64M"}) {
        SCOPED_TRACE(text);
        start(text);
        const Json blocks = execute("human-monitor-command", R"({"command-line":"info ramblock"})");
        EXPECT_NE(blocks.dump().find(" pc.ram "), std::string::npos) << blocks;
        process_.reset();
        files_.clear();
    }
}

/// What QEMU writes into the guest's RAM is seen in the file.
TEST_F(RealQemu, TheFileIsTheRam)
{
    start("-M pc -m 64 -device loader,addr=0x200000,data=0x1122334455667788,data-len=8");
    uint64_t value = 0;
    ASSERT_EQ(pread(files_.at(0).get(), &value, sizeof value, 0x200000),
              static_cast<ssize_t>(sizeof value));
    EXPECT_EQ(value, 0x1122334455667788u);
}

TEST_F(RealQemu, HasTheMonitorsItWouldHaveHad)
{
    start("-serial null -monitor null");
    EXPECT_NE(execute("query-chardev").dump().find("compat_monitor0"), std::string::npos);
}

} // namespace
} // namespace drover::qemu
