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
              "mem-path=/proc/self/fd/11,x-use-canonical-path-for-ramblock-id=off "
              "-machine memory-backend=pc.ram "
              "-chardev socket,id=drover-qmp-0,fd=21 -mon chardev=drover-qmp-0,mode=control "
              "-chardev socket,id=drover-qmp-1,fd=22 -mon chardev=drover-qmp-1,mode=control "
              "-S -incoming defer");
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
    host.files["/memory.cfg"] = "# x\n[memory]\n  size = \"1024\"\n";
    host.files["/object.cfg"] = "[object \"r\"]\n  qom-type = \"memory-backend-ram\"\n";
    host.files["/mon.cfg"] = "[chardev \"c\"]\nbackend = \"stdio\"\n[mon \"m\"]\nchardev = \"c\"\n";
    host.files["/machine.cfg"] = "[machine]\n memory-backend = \"r\"\n";
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
        {"-readconfig /memory.cfg", "section [memory]"},
        {"-readconfig /object.cfg", "section [object]"},
        {"-readconfig /mon.cfg", "section [mon]"},
        {"-readconfig /machine.cfg", "section [machine]"},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text, host);
        ASSERT_FALSE(planned) << one.text;
        EXPECT_NE(planned.error().text().find(one.says), std::string::npos)
            << one.text << ": " << planned.error().text();
        EXPECT_EQ(planned.error().kind, ErrorKind::Invalid) << one.text;
    }
    host.files["/harmless.cfg"] = "[machine]\n type = \"q35\"\n[device]\n driver = \"e1000\"\n"
                                  "[object \"o\"]\n qom-type = \"rng-builtin\"\n";
    EXPECT_TRUE(plan("-readconfig /harmless.cfg", host));
    EXPECT_TRUE(plan("-readconfig /missing.cfg", host));
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
        {"-accel kvm -cpu host", "-cpu max -accel tcg"},
        {"-accel kvm,kernel-irqchip=on -accel tcg,thread=multi", "-accel tcg,thread=multi"},
        {"-enable-kvm -cpu host,migratable=on", "-cpu max,migratable=on -accel tcg"},
        {"-machine pc,accel=kvm:tcg -cpu Nehalem", "-machine pc,accel=tcg -cpu Nehalem"},
        {"-M accel=kvm,type=q35 -enable-kvm", "-M accel=tcg,type=q35"},
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

} // namespace
} // namespace drover::qemu
