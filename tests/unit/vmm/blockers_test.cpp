// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_host.h"
#include "vmm/qemu/blockers.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

std::string joined_reasons(const RunningFacts& facts)
{
    return joined(migration_blockers(facts, {"pc.ram"}, AioWords()));
}

Json child(const char* name, const std::string& type)
{
    return Json{{"name", name}, {"type", "child<" + type + ">"}};
}

TEST(Blockers, AreWhatTheRunningQemuHas)
{
    for (const char* type : {"vfio-pci", "vhost-user-blk-pci", "vhost-user-fs-pci", "scsi-block",
                             "scsi-generic", "vhost-scsi-pci", "vhost-vdpa-device-pci"}) {
        RunningFacts facts;
        facts.devices = Json::array({child("d0", type)});
        EXPECT_NE(joined_reasons(facts).find("d0 (" + std::string(type) + ")"), std::string::npos);
    }
    for (const char* driver : {"nvme", "io_uring", "nvme-io_uring", "virtio-blk-vfio-pci"}) {
        RunningFacts facts;
        facts.nodes = Json::array({Json{{"node-name", "n0"}, {"drv", driver}}});
        EXPECT_NE(joined_reasons(facts).find("n0"), std::string::npos) << driver;
    }
    for (const char* type : {"vhost-user", "vhost-vdpa"}) {
        RunningFacts facts;
        facts.network = std::string("net0: index=0,type=nic,model=virtio-net-pci\n \\ hn0: index=0,"
                                    "type=") +
                        type + ",x=y\n";
        EXPECT_NE(joined_reasons(facts).find("hn0"), std::string::npos) << facts.network;
    }
    for (const char* file : {"/dev/vfio/12", "/dev/vhost-vdpa-0", "/dev/vhost-scsi"}) {
        RunningFacts facts;
        facts.files = {file};
        EXPECT_NE(joined_reasons(facts), "") << file;
    }
}

TEST(Blockers, AreNotSeenInNamesOfTheUsers)
{
    RunningFacts facts;
    facts.devices = Json::array({child("vfio-net0", "virtio-net-pci"), child("d", "nvme"),
                                 Json{{"name", "type"}, {"type", "string"}}});
    facts.network = "vhost-user: index=0,type=tap,ifname=a,script=/x,type=vhost-user\n";
    facts.nodes = Json::array({Json{{"node-name", "nvme0"}, {"drv", "raw"}}});
    facts.files = {"/srv/vfio-test.img", "/dev/vhost-net", "/dev/vhost-vsock"};
    EXPECT_EQ(joined_reasons(facts), "");
}

TEST(Blockers, SharedMemoryOfOthersIsOne)
{
    RunningFacts facts;
    facts.memdevs = Json::array(
        {Json{{"id", "pc.ram"}, {"share", true}}, Json{{"id", "private"}, {"share", false}}});
    EXPECT_EQ(joined_reasons(facts), "");
    facts.memdevs.push_back(Json{{"id", "dimm"}, {"share", true}});
    EXPECT_NE(joined_reasons(facts).find("dimm"), std::string::npos);
    facts.memdevs.back().erase("id");
    EXPECT_NE(joined_reasons(facts).find("without an id"), std::string::npos);
}

TEST(Blockers, QemusOwnReasonsAreAmongThem)
{
    RunningFacts facts;
    facts.migration = Json{{"blocked-reasons", {"non-migratable device: nvme"}}};
    EXPECT_EQ(joined_reasons(facts), "non-migratable device: nvme");
    facts.migration = Json{{"blocked-reasons", 7}};
    EXPECT_EQ(joined_reasons(facts), "");
}

std::vector<std::string> aio_of(std::string_view line, const std::set<std::string>& present = {})
{
    FakeHost host;
    host.files["/etc/guest.cfg"] = "[drive \"d0\"]\n  file = \"/d\"\n  aio = \"native\"\n";
    AioWords words_of;
    words_of.learn(words(line), host.facts());
    return words_of.blockers(present);
}

TEST(AioWords, AreFoundWhereverQemuTakesThem)
{
    for (const char* line :
         {"-drive file=/d.img,aio=native", "-drive aio=io_uring,file=/d.img",
          R"(-blockdev '{"driver":"file","filename":"/d","aio":"native"}')",
          R"(-blockdev '{"driver":"raw","file":{"driver":"file","aio":"io_uring"}}')",
          "-blockdev driver=raw,file.driver=file,file.aio=native", "-set drive.d0.aio=native",
          "-readconfig /etc/guest.cfg"})
        EXPECT_FALSE(aio_of(line).empty()) << line;
    for (const char* line :
         {"-drive file=/srv/aio=native.img", "-append aio=native", "-drive file=/d,aio=threads",
          "-name aio=native", "-drive file=/x,aio=nativex"})
        EXPECT_TRUE(aio_of(line).empty()) << line;
}

TEST(AioWords, GoWithTheNodesThatTheyNamed)
{
    const char* line = R"(-blockdev '{"driver":"file","node-name":"n","aio":"native"}')";
    EXPECT_FALSE(aio_of(line, {"n", "other"}).empty());
    EXPECT_TRUE(aio_of(line, {"other"}).empty());
    EXPECT_FALSE(aio_of("-drive aio=native,file=/d", {"other"}).empty()); // no name: it stays
    AioWords words;
    words.learn(R"({"driver":"raw","node-name":"top","file":{"aio":"native","node-name":"low"}})");
    EXPECT_FALSE(words.blockers({"low"}).empty());
    EXPECT_TRUE(words.blockers({}).empty());
    words.pin(); // a mirror may have been opened with the same flags
    EXPECT_FALSE(words.blockers({}).empty());
}

TEST(AioWords, AreBelievedLessThanTheKernel)
{
    RunningFacts facts;
    facts.linux_aio = true;
    EXPECT_NE(joined_reasons(facts).find("aio=threads"), std::string::npos);
}

} // namespace
} // namespace drover::qemu
