// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/launch_plan.h"

#include "fake_host.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

Result<LaunchPlan> plan(std::string_view text, FakeHost& host,
                        std::string_view program = "drover-system-x86_64")
{
    return plan_launch(program, words(text), host.facts());
}

Result<LaunchPlan> plan(std::string_view text)
{
    FakeHost host;
    return plan(text, host);
}

TEST(LaunchPlan, CarriesOutWhatIsItsOwn)
{
    const auto planned =
        plan("-M q35 -S -daemonize -pidfile /p -name guest=web1,debug-threads=on -incoming "
             "tcp:0:4444 -migrate-policy downtime=50ms --migrate-policy deadline=60s "
             "-nodefaults -vmm qemu -m 64 disk.img");
    ASSERT_TRUE(planned) << planned.error().text();
    EXPECT_EQ(planned->binary, "/usr/bin/qemu-system-x86_64");
    EXPECT_EQ(planned->architecture, "x86_64");
    EXPECT_FALSE(planned->execute_unchanged);
    EXPECT_TRUE(planned->start_paused);
    EXPECT_TRUE(planned->daemonize);
    EXPECT_EQ(planned->pidfile, "/p");
    EXPECT_EQ(planned->name, "web1");
    EXPECT_TRUE(planned->incoming.present);
    EXPECT_EQ(planned->incoming.uri, "tcp:0:4444");
    EXPECT_EQ(planned->migrate_policy, "downtime=50ms,deadline=60s");
    const std::vector<int> ram_fds = {11};
    const std::vector<int> qmp_fds = {21, 22};
    EXPECT_EQ(joined(qemu_arguments(*planned, ram_fds, qmp_fds)),
              "-M q35 -name guest=web1,debug-threads=on -nodefaults -m 64 disk.img "
              "-object memory-backend-file,id=pc.ram,size=67108864,share=on,"
              "mem-path=/proc/self/fd/11,x-use-canonical-path-for-ramblock-id=off,align=2097152 "
              "-machine memory-backend=pc.ram "
              "-chardev socket,id=drover-qmp-0,fd=21 -mon chardev=drover-qmp-0,mode=control "
              "-chardev socket,id=drover-qmp-1,fd=22 -mon chardev=drover-qmp-1,mode=control "
              "-pidfile /p -S -incoming defer");
}

TEST(LaunchPlan, ASourceIsNotIncoming)
{
    const auto planned = plan("-nodefaults -name bare");
    ASSERT_TRUE(planned);
    EXPECT_FALSE(planned->incoming.present);
    EXPECT_FALSE(planned->start_paused);
    EXPECT_EQ(planned->name, "bare");
    const auto arguments = qemu_arguments(*planned, std::vector{3}, {});
    EXPECT_EQ(arguments.back(), "-S");
}

TEST(LaunchPlan, TakesLibvirtsLine)
{
    const auto planned = plan(
        R"(-name guest=vm1,debug-threads=on -S -object )"
        R"('{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/key"}' )"
        R"(-machine pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel kvm )"
        R"(-cpu host,migratable=on -m size=4194304k -object )"
        R"('{"qom-type":"memory-backend-ram","id":"pc.ram","size":4294967296}' )"
        R"(-overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 -uuid 1 -display none )"
        R"(-no-user-config -nodefaults -chardev socket,id=charmonitor,fd=30,server=on,wait=off )"
        R"(-mon chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown )"
        R"(-boot strict=on -device '{"driver":"pcie-root-port","port":8,"id":"pci.1"}' )"
        R"(-netdev '{"type":"tap","fd":"33","vhost":true,"vhostfd":"35","id":"hostnet0"}' )"
        R"(-chardev pty,id=charserial0 )"
        R"(-device '{"driver":"isa-serial","chardev":"charserial0","id":"serial0"}' )"
        R"(-incoming defer -sandbox on,obsolete=deny -msg timestamp=on)");
    ASSERT_TRUE(planned) << planned.error().text();
    ASSERT_EQ(planned->monitors.size(), 1u);
    EXPECT_EQ(planned->monitors[0].kind, MonitorEndpoint::Kind::ListenFd);
    EXPECT_EQ(planned->monitors[0].fd, 30);
    ASSERT_EQ(planned->ram.size(), 1u);
    EXPECT_EQ(planned->ram[0].id, "pc.ram");
    EXPECT_EQ(planned->ram[0].size, 4ULL << 30);
    EXPECT_EQ(planned->incoming.uri, "defer");
    EXPECT_EQ(planned->name, "vm1");
    EXPECT_TRUE(planned->notes.empty());
    const std::string line = joined(qemu_arguments(*planned, std::vector{44}, std::vector{45}));
    EXPECT_NE(line.find(R"("mem-path":"/proc/self/fd/44")"), std::string::npos) << line;
    EXPECT_EQ(line.find("charmonitor"), std::string::npos);
    EXPECT_NE(line.find("-chardev pty,id=charserial0"), std::string::npos);
}

TEST(LaunchPlan, ProbingLinesAreQemus)
{
    const auto planned = plan("-S -no-user-config -nodefaults -nographic -machine "
                              "none,accel=kvm:tcg -qmp unix:/q,server=on,wait=off -pidfile /p "
                              "-daemonize -migrate-policy downtime=1s -vmm qemu");
    ASSERT_TRUE(planned);
    EXPECT_TRUE(planned->execute_unchanged);
    EXPECT_EQ(planned->binary, "/usr/bin/qemu-system-x86_64");
    EXPECT_EQ(joined(planned->arguments),
              "-S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg -qmp "
              "unix:/q,server=on,wait=off -pidfile /p -daemonize");
    EXPECT_EQ(joined(plan("-device virtio-net-pci,help")->arguments),
              "-device virtio-net-pci,help");
}

TEST(LaunchPlan, ExplainsItsOwnOptions)
{
    EXPECT_NE(plan("-vmm help")->own_help.find("-vmm qemu"), std::string::npos);
    EXPECT_NE(plan("-migrate-policy ?")->own_help.find("downtime"), std::string::npos);
    EXPECT_TRUE(plan("-m 64")->own_help.empty());
}

TEST(LaunchPlan, RefusesInWords)
{
    FakeHost host;
    host.files["/memory.cfg"] = "[memory]\n  size = \"1024\"\n[newer]\n a = \"1\"\n";
    host.files["/syntax.cfg"] = "[memory]\n size 1024\n";
    const struct {
        const char* text;
        const char* says;
    } cases[] = {
        {"-vmm microvm", "not in this version"},
        {"-vmm xen", "there is no such machine"},
        {"-vmm qemu,speed=9", "no option 'speed'"},
        {"-vmm qemu,path=/no/such", "no such program"},
        {"-vmm", "needs an argument"},
        {"-migrate-policy", "needs an argument"},
        {"-preconfig", "not supported"},
        {"-daemonize -nographic", "cannot be used with"},
        {"-daemonize -nographic -serial null -monitor none", "cannot be used with"},
        {"-daemonize -display none -serial stdio", "cannot be used with"},
        {"-daemonize -display none -qmp stdio", "cannot be used with"},
        {"-readconfig /memory.cfg", "does not know its section [newer], and it sets up memory"},
        {"-readconfig /syntax.cfg", "has a line that Drover cannot read"},
        {"-incoming {\"transport\":\"rdma\"}", "transport 'rdma' is not supported"},
        {"-incoming {\"transport\":", "not a JSON object"},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text, host);
        ASSERT_FALSE(planned) << one.text;
        EXPECT_NE(planned.error().text().find(one.says), std::string::npos)
            << one.text << ": " << planned.error().text();
        EXPECT_EQ(planned.error().kind, ErrorKind::Invalid) << one.text;
    }
    host.files["/harmless.cfg"] = "[newer]\n a = \"1\"\n";
    EXPECT_TRUE(plan("-readconfig /harmless.cfg", host));
    EXPECT_TRUE(plan("-readconfig /missing.cfg", host));
}

TEST(LaunchPlan, WhatAConfigFileSaysIsAsIfSaidOnTheLine)
{
    FakeHost host;
    host.files["/vm.cfg"] = R"(
# as Incus writes it
[machine]
type = "q35"
accel = "tcg"

[memory]
size = "256M"
[object "mem0"]
  qom-type = "memory-backend-memfd"
  size = "256M"
  share = "on"
[numa]
type = "node"
nodeid = "0"
memdev = "mem0"
[smp-opts]
cpus = "2"
[boot-opts]
strict = "on"
[global]
driver = "ICH9-LPC"
property = "disable_s3"
value = "1"
[chardev "monitor"]
backend = "socket"
path = "/run/a,b.sock"
server = "on"
wait = "off"
[mon]
chardev = "monitor"
mode = "control"
[device "serial0"]
driver = "isa-serial"
)";
    const auto planned = plan("-name a -readconfig /vm.cfg -nographic", host);
    ASSERT_TRUE(planned) << planned.error().text();
    ASSERT_EQ(planned->monitors.size(), 1U);
    EXPECT_EQ(planned->monitors[0].path, "/run/a,b.sock");
    ASSERT_EQ(planned->ram.size(), 1U);
    EXPECT_EQ(planned->ram[0].id, "mem0");
    EXPECT_EQ(planned->ram[0].size, 256U << 20);
    EXPECT_EQ(joined(qemu_arguments(*planned, std::vector{7}, {})),
              "-name a -machine type=q35,accel=tcg -m size=256M "
              "-object qom-type=memory-backend-file,size=256M,share=on,id=mem0,"
              "mem-path=/proc/self/fd/7,align=2097152 "
              "-numa type=node,nodeid=0,memdev=mem0 -smp cpus=2 -boot strict=on "
              "-global driver=ICH9-LPC,property=disable_s3,value=1 "
              "-device driver=isa-serial,id=serial0 -nographic -S");
}

TEST(LaunchPlan, AConfigFileMayComeByAPipe)
{
    FakeHost host;
    host.files["/dev/fd/5"] = "[memory]\n size = \"64M\"\n";
    host.paths["/dev/fd/5"] = PathKind::Other;
    const auto planned = plan("-readconfig /dev/fd/5", host);
    ASSERT_TRUE(planned) << planned.error().text();
    EXPECT_EQ(planned->ram.at(0).size, 64U << 20);
    host.files["/dev/fd/5"] = "[newer]\n a = \"1\"\n";
    const auto refused = plan("-readconfig /dev/fd/5", host);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("section [newer]"), std::string::npos);
}

TEST(LaunchPlan, AMachineHasItsOwnDefaultMemory)
{
    FakeHost host;
    const auto size = [&](std::string_view text) {
        const auto planned = plan(text, host, "drover-system-aarch64");
        return planned && planned->ram.size() == 1 ? planned->ram[0].size >> 20 : 0;
    };
    EXPECT_EQ(size("-M raspi3b"), 1024U);
    EXPECT_EQ(size("-M raspi3b -m slots=2,maxmem=4G"), 1024U);
    EXPECT_EQ(size("-M raspi3b -m 256"), 256U);
    EXPECT_EQ(size("-M unheard-of"), 128U);
}

TEST(LaunchPlan, DaemonsWhosePortsGoElsewhereMayBeWithoutGraphics)
{
    for (const char* text :
         {"-nodefaults", "-serial null -parallel none -monitor none",
          "-serial file:/s -parallel null -qmp unix:/q,server=on,wait=off",
          "-chardev socket,id=c,path=/q,server=on,wait=off -mon chardev=c,mode=control "
          "-serial chardev:s -chardev null,id=s -parallel none"}) {
        const auto planned = plan(std::string("-daemonize -nographic ") + text);
        ASSERT_TRUE(planned) << text << ": " << planned.error().text();
        EXPECT_TRUE(planned->daemonize);
    }
}

TEST(LaunchPlan, AnIncomingChannelIsAnAddress)
{
    const struct {
        const char* text;
        const char* uri;
    } cases[] = {
        {R"('{"channel-type":"main","addr":{"transport":"socket","type":"inet","host":"::1","port":"44"}}')",
         "tcp:[::1]:44"},
        {R"('{"transport":"socket","type":"unix","path":"/s"}')", "unix:/s"},
        {R"('{"channel-type":"main","addr":{"transport":"socket","type":"fd","str":"7"}}')",
         "fd:7"},
        {"channel-type=main,addr.transport=socket,addr.type=inet,addr.host=h,addr.port=9",
         "tcp:h:9"},
        {R"('{"channel-type":"main","addr":{"transport":"exec","args":["/bin/sh","-c","cat x"]}}')",
         "exec:cat x"},
        {R"('{"transport":"file","filename":"/f","offset":4096}')", "file:/f,offset=4096"},
        {"tcp:0:4444", "tcp:0:4444"},
    };
    for (const auto& one : cases) {
        const auto planned = plan(std::string("-incoming ") + one.text);
        ASSERT_TRUE(planned) << one.text << ": " << planned.error().text();
        EXPECT_EQ(planned->incoming.uri, one.uri);
    }
}

TEST(LaunchPlan, SaysAtTheStartThatAPolicyForbidsMigration)
{
    const auto planned = plan("-compat unstable-input=reject");
    ASSERT_TRUE(planned);
    ASSERT_TRUE(planned->blocker);
    EXPECT_NE(planned->blocker->find("unstable-input=reject"), std::string::npos);
    ASSERT_EQ(planned->notes.size(), 1U);
    EXPECT_FALSE(plan("-compat deprecated-input=reject,unstable-input=accept")->blocker);
}

TEST(Binary, TheProgramsNameChoosesTheArchitecture)
{
    FakeHost host;
    EXPECT_EQ(plan("-M virt", host, "/opt/drover-system-aarch64")->binary,
              "/usr/bin/qemu-system-aarch64");
    EXPECT_EQ(plan("", host, "qemu-system-x86_64")->binary, "/usr/bin/qemu-system-x86_64");
    const auto missing = plan("", host, "drover-system-riscv64");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().text(),
              "qemu-system-riscv64 is not installed (install the Debian package "
              "qemu-system-misc, or name the program with -vmm qemu,path=PROGRAM)");
    host.programs.erase("/usr/bin/qemu-system-x86_64");
    EXPECT_NE(plan("", host).error().text().find("Debian package qemu-system-x86,"),
              std::string::npos);
}

TEST(Binary, NeverRunsItself)
{
    FakeHost host;
    host.programs["/usr/local/bin/qemu-system-x86_64"] = true;
    EXPECT_EQ(plan("", host, "qemu-system-x86_64")->binary, "/usr/bin/qemu-system-x86_64");
    EXPECT_EQ(plan("-vmm qemu,path=/usr/bin/qemu-system-aarch64", host)->binary,
              "/usr/bin/qemu-system-aarch64");
    const auto self = plan("-vmm qemu,path=/usr/local/bin/qemu-system-x86_64", host);
    ASSERT_FALSE(self);
    EXPECT_NE(self.error().text().find("Drover itself"), std::string::npos);
}

TEST(Accelerator, UselessKvmBecomesTcg)
{
    const struct {
        const char* text;
        const char* becomes;
    } cases[] = {
        {"-accel kvm -accel tcg -cpu host", "-accel tcg -cpu max"},
        {"-accel kvm,kernel-irqchip=on -accel tcg,thread=multi", "-accel tcg,thread=multi"},
        {"-machine pc,accel=kvm:tcg -cpu Nehalem", "-machine pc,accel=tcg -cpu Nehalem"},
        {"-M accel=kvm:tcg,type=q35 -enable-kvm -cpu host,migratable=on",
         "-M accel=tcg,type=q35 -cpu max,migratable=on"},
    };
    for (const auto& one : cases) {
        FakeHost host;
        host.kvm = {false, "it is slow"};
        const auto planned = plan(std::string("-nodefaults ") + one.text, host);
        ASSERT_TRUE(planned) << one.text;
        const std::string line = joined(planned->arguments);
        EXPECT_TRUE(line.starts_with(std::string("-nodefaults ") + one.becomes + " -object"))
            << line;
        ASSERT_EQ(planned->notes.size(), 1u);
        EXPECT_NE(planned->notes[0].find("KVM is not usable (it is slow)"), std::string::npos);
    }
}

TEST(Accelerator, WhoAsksForNothingButKvmGetsKvmOrAnError)
{
    for (const char* text : {"-accel kvm -cpu host", "-enable-kvm", "-machine pc,accel=kvm",
                             "-accel kvm -accel kvm,kernel-irqchip=off"}) {
        FakeHost host;
        host.kvm = {false, "it is not there"};
        const auto refused = plan(text, host);
        ASSERT_FALSE(refused) << text;
        EXPECT_NE(refused.error().text().find("it is not there"), std::string::npos);
        EXPECT_NE(refused.error().text().find("-accel kvm -accel tcg"), std::string::npos);
        host.kvm = {false, "it is slow", true};
        const auto slow = plan(text, host);
        ASSERT_TRUE(slow) << text;
        EXPECT_TRUE(joined(slow->arguments).starts_with(text));
        ASSERT_EQ(slow->notes.size(), 1U);
        EXPECT_NE(slow->notes[0].find("KVM is slow (it is slow)"), std::string::npos);
    }
}

TEST(Accelerator, KvmIsTriedOnlyWhereItIsAskedFor)
{
    for (const char* text : {"", "-accel tcg", "-accel tcg -accel kvm", "-machine accel=tcg:kvm",
                             "-accel qtest", "-append '-accel kvm'"}) {
        FakeHost host;
        host.kvm = {false, "it is slow"};
        const auto planned = plan(text, host);
        ASSERT_TRUE(planned) << text;
        EXPECT_EQ(host.kvm_asked, 0) << text;
        EXPECT_TRUE(planned->notes.empty()) << text;
    }
    FakeHost host;
    const auto planned = plan("-nodefaults -accel kvm -cpu host", host);
    EXPECT_EQ(host.kvm_asked, 1);
    EXPECT_TRUE(joined(planned->arguments).starts_with("-nodefaults -accel kvm -cpu host"));
}

TEST(LaunchPlan, UnderKvmSaysOnceThatRamGetsNoHugePages)
{
    FakeHost host;
    const char* const setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    for (const auto& [text, notes] :
         {std::pair("always within_size advise [never] deny force", 1U),
          std::pair("always within_size [advise] never deny force", 0U)}) {
        host.files[setting] = text;
        const auto planned =
            plan_launch("drover-system-x86_64", words("-M pc -accel kvm -m 64"), host.facts());
        ASSERT_TRUE(planned);
        ASSERT_EQ(planned->notes.size(), notes) << text;
        for (const std::string& note : planned->notes)
            EXPECT_NE(note.find(setting), std::string::npos);
    }
}

TEST(LaunchPlan, DisksAreReadWhereTheTrackerSees)
{
    const auto planned =
        plan(R"(-drive file=/srv/aio=native.img,aio=native,if=none -set drive.d.aio=io_uring )"
             R"(-blockdev driver=raw,file.driver=file,file.aio=native -name aio=native )"
             R"(-blockdev '{"driver":"raw","file":{"driver":"file","aio":"io_uring"}}' )"
             R"(-drive file=/srv/b,aio=threads)");
    ASSERT_TRUE(planned);
    const std::string line = joined(planned->arguments);
    EXPECT_TRUE(line.starts_with(
        R"(-drive file=/srv/aio=native.img,aio=threads,if=none -set drive.d.aio=threads )"
        R"(-blockdev driver=raw,file.driver=file,file.aio=threads -name aio=native )"
        R"(-blockdev {"driver":"raw","file":{"aio":"threads","driver":"file"}} )"
        R"(-drive file=/srv/b,aio=threads)"))
        << line;
    EXPECT_TRUE(planned->aio.empty());
    const auto kept = plan("-vmm qemu,aio=keep -drive file=/a,aio=native");
    ASSERT_TRUE(kept);
    EXPECT_TRUE(kept->keep_aio);
    EXPECT_FALSE(kept->aio.empty());
    EXPECT_FALSE(plan("-vmm qemu,aio=always"));
}

} // namespace
} // namespace drover::qemu
