// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/ram_plan.h"

#include "fake_host.h"
#include "vmm/qemu/opts.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

constexpr uint64_t mib = 1ULL << 20;

struct Planned {
    CommandLine line;
    Result<std::vector<RamFile>> ram;
    std::vector<std::string> notes;
};

Planned plan(std::string_view text, std::string_view architecture = "x86_64")
{
    FakeHost host;
    host.files["/srv/ram"] = "";
    host.files["/srv/template"] = "somebody's memory";
    host.paths["/dev/dax0.0"] = PathKind::Other;
    Planned planned{CommandLine::parse(words(text)), {}, {}};
    planned.ram = plan_ram(planned.line, architecture, host.facts(), planned.notes);
    return planned;
}

/// What became of the -object of a block, without the placeholder.
std::string object_of(const Planned& planned, size_t block)
{
    std::string text = planned.line.words()[(*planned.ram)[block].argument].text();
    const size_t at = text.find(ram_placeholder);
    EXPECT_NE(at, std::string::npos) << text;
    return text.replace(at, ram_placeholder.size(), "FD");
}

TEST(RamPlan, AMachineWithoutBackendGetsOne)
{
    const struct {
        const char* text;
        const char* architecture;
        const char* id;
        uint64_t size;
    } cases[] = {
        {"", "x86_64", "pc.ram", 128 * mib},
        {"-m 0", "x86_64", "pc.ram", 128 * mib},
        {"-m 512", "x86_64", "pc.ram", 512 * mib},
        {"-m 1.5G -M q35", "x86_64", "pc.ram", 1536 * mib},
        {"-m size=64,slots=2,maxmem=1G", "x86_64", "pc.ram", 64 * mib},
        {"-m 64 -m slots=2,maxmem=1G", "x86_64", "pc.ram", 64 * mib},
        {"-m slots=2,maxmem=1G", "x86_64", "pc.ram", 128 * mib},
        {"-m 16777217B", "x86_64", "pc.ram", 16785408},
        {"-m 64 -append '-m 5'", "x86_64", "pc.ram", 64 * mib},
        {"-M microvm,pit=on -m 256M", "x86_64", "microvm.ram", 256 * mib},
        {"-machine type=microvm", "x86_64", "microvm.ram", 128 * mib},
        {"-M virt -m 1G", "aarch64", "mach-virt.ram", 1024 * mib},
        {"-M pseries -m 1G", "ppc64", "drover.ram", 1024 * mib},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text, one.architecture);
        ASSERT_TRUE(planned.ram) << one.text;
        ASSERT_EQ(planned.ram->size(), 1u) << one.text;
        const RamFile& ram = planned.ram->front();
        EXPECT_EQ(ram.id, one.id) << one.text;
        EXPECT_EQ(ram.size, one.size) << one.text;
        EXPECT_EQ(planned.line.machine_property("memory-backend"), one.id) << one.text;
        EXPECT_EQ(object_of(planned, 0), "memory-backend-file,id=" + ram.id +
                                             ",size=" + std::to_string(ram.size) +
                                             ",share=on,mem-path=FD"
                                             ",x-use-canonical-path-for-ramblock-id=off" +
                                             (ram.size % (2 * mib) == 0 ? ",align=2097152" : ""));
    }
}

TEST(RamPlan, BackendsBecomeSharedFiles)
{
    const struct {
        const char* object;
        const char* becomes;
    } cases[] = {
        {"memory-backend-ram,id=r,size=1G",
         "qom-type=memory-backend-file,id=r,size=1G,share=on,mem-path=FD"
         ",align=2097152,x-use-canonical-path-for-ramblock-id=off"},
        {"memory-backend-ram,share=off,id=r,size=1G,host-nodes=0,host-nodes=1,policy=bind,"
         "prealloc=on,prealloc-threads=4,merge=off,dump=off,reserve=off",
         "qom-type=memory-backend-file,share=on,id=r,size=1G,host-nodes=0,host-nodes=1,policy=bind,"
         "prealloc=on,prealloc-threads=4,merge=off,dump=off,reserve=off,mem-path=FD"
         ",align=2097152,x-use-canonical-path-for-ramblock-id=off"},
        {"memory-backend-memfd,id=r,size=1G,seal=on,hugetlb=on,hugetlbsize=2M",
         "qom-type=memory-backend-file,id=r,size=1G,share=on,mem-path=FD"},
        {"memory-backend-file,id=r,size=1G,mem-path=/dev/hugepages,align=2M",
         "qom-type=memory-backend-file,id=r,size=1G,mem-path=FD,align=2M,share=on"},
        {"memory-backend-file,id=r,size=1G,mem-path=/srv/ram,share=on,discard-data=on",
         "qom-type=memory-backend-file,id=r,size=1G,mem-path=FD,share=on,discard-data=on"},
    };
    for (const auto& one : cases) {
        const auto planned =
            plan(std::string("-m 1G -object ") + one.object + " -M pc,memory-backend=r");
        ASSERT_TRUE(planned.ram) << one.object;
        ASSERT_EQ(planned.ram->size(), 1u) << one.object;
        EXPECT_EQ(object_of(planned, 0), one.becomes);
        EXPECT_EQ(planned.ram->front().size, 1024 * mib);
        EXPECT_TRUE(planned.notes.empty());
    }
}

TEST(RamPlan, SaysWhereEachFileComesFrom)
{
    const auto directory = plan("-object memory-backend-file,id=r,size=1M,mem-path=/dev/hugepages "
                                "-M memory-backend=r");
    EXPECT_EQ(directory.ram->at(0).directory, "/dev/hugepages");
    const auto users = plan("-object memory-backend-file,id=r,size=1M,mem-path=/srv/new,share=on "
                            "-M memory-backend=r");
    EXPECT_EQ(users.ram->at(0).path, "/srv/new");
    const auto huge = plan("-object memory-backend-memfd,id=r,size=4M,hugetlb=on,hugetlbsize=2M "
                           "-M memory-backend=r");
    EXPECT_TRUE(huge.ram->at(0).memfd_hugetlb);
    EXPECT_EQ(huge.ram->at(0).huge_page_size, 2 * mib);
    EXPECT_EQ(huge.ram->at(0).directory, "");
}

TEST(RamPlan, JsonBackendStaysJson)
{
    const auto planned = plan("-machine pc-q35-7.2,usb=off,memory-backend=pc.ram -m 4096 -object "
                              R"('{"qom-type":"memory-backend-memfd","id":"pc.ram",)"
                              R"("x-use-canonical-path-for-ramblock-id":false,"size":4294967296,)"
                              R"("host-nodes":[0],"policy":"bind","seal":true}')");
    ASSERT_TRUE(planned.ram);
    ASSERT_EQ(planned.ram->size(), 1u);
    EXPECT_EQ(planned.ram->at(0).size, 4096 * mib);
    EXPECT_EQ(Json::parse(object_of(planned, 0)),
              Json::parse(R"({"qom-type":"memory-backend-file","id":"pc.ram","share":true,)"
                          R"("x-use-canonical-path-for-ramblock-id":false,"size":4294967296,)"
                          R"("host-nodes":[0],"policy":"bind","mem-path":"FD","align":2097152})"));
}

TEST(RamPlan, NumaBackendsAreTheRam)
{
    const auto planned = plan("-m 1G -object memory-backend-ram,id=a,size=512M "
                              "-object memory-backend-memfd,id=b,size=512M "
                              "-numa node,nodeid=0,memdev=a -numa node,nodeid=1,memdev=b");
    ASSERT_TRUE(planned.ram);
    ASSERT_EQ(planned.ram->size(), 2u);
    EXPECT_EQ(planned.ram->at(0).id, "a");
    EXPECT_EQ(planned.ram->at(1).id, "b");
    EXPECT_EQ(planned.line.machine_property("memory-backend"), "");
}

TEST(RamPlan, NumaNodesWithoutBackendsShareTheDefault)
{
    const auto planned = plan("-m 1G -numa node,cpus=0 -numa node,cpus=1");
    ASSERT_EQ(planned.ram->size(), 1u);
    EXPECT_EQ(planned.ram->at(0).id, "pc.ram");
}

TEST(RamPlan, MemoryDevicesAreRamToo)
{
    const auto planned = plan("-m 64,slots=2,maxmem=1G -object memory-backend-ram,id=d,size=64M "
                              "-device pc-dimm,id=x,memdev=d "
                              "-object memory-backend-ram,id=v,size=64M "
                              "-device '{\"driver\":\"virtio-mem-pci\",\"memdev\":\"v\"}'");
    ASSERT_EQ(planned.ram->size(), 3u);
    EXPECT_EQ(planned.ram->at(0).id, "d");
    EXPECT_EQ(planned.ram->at(1).id, "v");
    EXPECT_EQ(planned.ram->at(2).id, "pc.ram");
}

TEST(RamPlan, WhatMayBePluggedLaterIsTakenToo)
{
    const auto planned =
        plan("-object memory-backend-file,id=n,size=1M,mem-path=/srv/ram,share=on -device "
             "nvdimm,memdev=n "
             "-object memory-backend-ram,id=p,size=1M -device virtio-pmem-pci,memdev=p "
             "-object memory-backend-memfd,id=unused,size=1M");
    ASSERT_TRUE(planned.ram) << planned.ram.error().text();
    ASSERT_EQ(planned.ram->size(), 4u);
    EXPECT_EQ(planned.ram->at(0).path, "/srv/ram"); // an nvdimm's contents stay in its file
    EXPECT_EQ(planned.ram->at(1).id, "p");
    EXPECT_EQ(planned.ram->at(2).id, "unused");
    EXPECT_TRUE(planned.notes.empty());
}

TEST(RamPlan, MemoryThatCannotBeHeldIsLeftAloneAndNoted)
{
    for (const char* text :
         {"-object memory-backend-file,id=n,size=1M,mem-path=/dev/dax0.0,share=on -device "
          "nvdimm,memdev=n",
          "-object memory-backend-file,id=n,size=1M,mem-path=/srv/ram,share=on,readonly=on -device "
          "nvdimm,memdev=n",
          "-object memory-backend-file,id=n,size=1M,mem-path=/srv/ram,share=on -device "
          "ivshmem-plain,memdev=n"}) {
        const auto planned = plan(text);
        ASSERT_TRUE(planned.ram) << planned.ram.error().text();
        ASSERT_EQ(planned.ram->size(), 1u) << text;
        EXPECT_EQ(planned.ram->at(0).id, "pc.ram");
        ASSERT_EQ(planned.notes.size(), 1u) << text;
        EXPECT_NE(planned.notes[0].find("'n' of "), std::string::npos);
    }
}

Result<std::optional<PluggedRam>> plugged(const char* arguments)
{
    FakeHost host;
    host.files["/srv/ram"] = "";
    host.paths["/dev/dax0.0"] = PathKind::Other;
    return plan_plugged_ram(*parse_json(arguments), host.facts());
}

TEST(RamPlan, PluggedMemoryBecomesASharedFile)
{
    for (const char* type : {"ram", "memfd", "shm"}) {
        const auto planned = plugged(
            (R"({"qom-type":"memory-backend-)" + std::string(type) +
             R"(","id":"m1","size":16777216,"share":false,"policy":"bind","host-nodes":[0]})")
                .c_str());
        ASSERT_TRUE(planned) << planned.error().text();
        ASSERT_TRUE(*planned) << type;
        EXPECT_EQ((*planned)->ram.id, "m1");
        EXPECT_EQ((*planned)->ram.size, 16 * mib);
        const Json& arguments = (*planned)->arguments;
        EXPECT_EQ(arguments["qom-type"], "memory-backend-file");
        EXPECT_EQ(arguments["share"], true);
        EXPECT_EQ(arguments["mem-path"], ram_placeholder);
        EXPECT_EQ(arguments["host-nodes"], Json::array({0}));
    }
    const auto file = plugged(
        R"({"qom-type":"memory-backend-file","id":"f","size":4096,"share":true,"mem-path":"/srv/ram"})");
    ASSERT_TRUE(file && *file);
    EXPECT_EQ((*file)->ram.path, "/srv/ram");
}

TEST(RamPlan, PluggedThingsThatAreNoMemoryOfOursAreLeftAlone)
{
    for (
        const char* arguments :
        {R"({"qom-type":"iothread","id":"t"})", R"({"id":"t"})", R"({})", R"({"qom-type":7})",
         R"({"qom-type":"memory-backend-epc","id":"e","size":4096})",
         R"({"qom-type":"memory-backend-file","id":"f","size":4096,"share":true,"mem-path":"/dev/dax0.0"})"}) {
        const auto planned = plugged(arguments);
        ASSERT_TRUE(planned) << planned.error().text();
        EXPECT_FALSE(*planned) << arguments;
    }
    const auto sizeless = plugged(R"({"qom-type":"memory-backend-ram","id":"m"})");
    ASSERT_FALSE(sizeless);
    EXPECT_NE(sizeless.error().text().find("has no size"), std::string::npos);
}

TEST(RamPlan, MemPathDirectoryHoldsTheDefault)
{
    const auto planned = plan("-mem-path /dev/hugepages -mem-prealloc -m 64 "
                              "-object memory-backend-ram,id=d,size=64M -device pc-dimm,memdev=d");
    ASSERT_EQ(planned.ram->size(), 2u);
    EXPECT_EQ(planned.ram->at(1).directory, "/dev/hugepages");
    EXPECT_FALSE(planned.line.has("mem-path"));
    EXPECT_TRUE(planned.line.has("mem-prealloc"));
    EXPECT_NE(object_of(planned, 0).find("id=d"), std::string::npos);
    EXPECT_NE(object_of(planned, 1).find("id=pc.ram"), std::string::npos);
}

TEST(RamPlan, PrivateFilesStayWithQemuAndAreNoted)
{
    for (const char* text : {"-mem-path /srv/template",
                             "-object memory-backend-file,id=r,size=128M,mem-path=/srv/template "
                             "-M memory-backend=r"}) {
        const auto planned = plan(text);
        ASSERT_TRUE(planned.ram) << text;
        EXPECT_TRUE(planned.ram->empty()) << text;
        EXPECT_EQ(planned.line.arguments(), words(text));
        EXPECT_EQ(planned.notes.size(), 1u) << text;
    }
}

TEST(RamPlan, PrivateFilesThatHoldNothingAreTaken)
{
    for (const char* path : {"/srv/ram", "/srv/none", "/dev/hugepages/vm/none"})
        for (const char* text : {"-mem-path ", "-M memory-backend=r -object "
                                               "memory-backend-file,id=r,size=128M,mem-path="}) {
            const auto planned = plan(text + std::string(path));
            ASSERT_TRUE(planned.ram) << text;
            ASSERT_EQ(planned.ram->size(), 1u) << text << path;
            EXPECT_EQ(planned.ram->at(0).path, "");
            EXPECT_EQ(planned.ram->at(0).directory,
                      std::string(path).starts_with("/dev/huge") ? "/dev/hugepages/vm/" : "");
            EXPECT_TRUE(planned.notes.empty());
        }
}

TEST(RamPlan, RefusesInWords)
{
    const struct {
        const char* text;
        const char* says;
    } cases[] = {
        {"-m lots", "-m: size: 'lots' is not a size"},
        {"-m 16E", "not a size"},
        {"-object memory-backend-ram,id=r -M memory-backend=r",
         "memory back-end 'r': has no size (add size=)"},
        {"-object memory-backend-ram,id=r,size=x -M memory-backend=r", "'x' is not a size"},
        {"-object memory-backend-file,id=r,size=1M,share=on,mem-path=/dev/dax0.0 -M "
         "memory-backend=r",
         "/dev/dax0.0"},
        {"-object memory-backend-file,id=r,size=1M,share=on,offset=4096,mem-path=/srv/ram -M "
         "memory-backend=r",
         "part of the file /srv/ram"},
        {"-object {", "not a JSON object"},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text);
        ASSERT_FALSE(planned.ram) << one.text;
        EXPECT_NE(planned.ram.error().text().find(one.says), std::string::npos)
            << planned.ram.error().text();
    }
}

} // namespace
} // namespace drover::qemu
