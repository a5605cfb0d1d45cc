// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/definition_rules.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace drover::balancer {
namespace {

class DefinitionRulesTest : public ::testing::Test {
protected:
    DefinitionRulesTest()
    {
        char path[] = "/tmp/drover-rules-XXXXXX";
        root = mkdtemp(path);
        std::filesystem::create_directory(root + "/images");
        std::filesystem::create_directory(root + "/run");
        rules.directories = {root + "/images/"};
    }
    ~DefinitionRulesTest() override { std::filesystem::remove_all(root); }

    /// What is said of one option of an otherwise harmless line; empty: it is taken.
    [[nodiscard]] std::string refusal(std::vector<std::string> words) const
    {
        words.insert(words.begin(), "-nodefaults");
        const Status good = check_foreign_command(words, rules, root + "/run");
        return good ? std::string() : good.error().text();
    }

    std::string root;
    DefinitionRules rules;
};

/// A file for xl is as good as a command.
TEST_F(DefinitionRulesTest, TakesFilesForXlThatOnlyItsOperatorCanWrite)
{
    const std::string file = root + "/run/web1.cfg";
    std::ofstream(file) << "name = \"web1\"\n";
    chmod(file.c_str(), 0644);
    EXPECT_FALSE(check_foreign_xen_config(file, rules)) << "a place that was not named";
    rules.xen_directories = {root + "/run"};
    EXPECT_TRUE(check_foreign_xen_config(file, rules));
    EXPECT_FALSE(check_foreign_xen_config(root + "/run/../images/none.cfg", rules));
    EXPECT_FALSE(check_foreign_xen_config(root + "/run", rules)) << "no file";
    const std::string link = root + "/run/link.cfg";
    std::filesystem::create_symlink("/etc/hostname", link);
    EXPECT_FALSE(check_foreign_xen_config(link, rules)) << "what counts is the file";
    chmod(file.c_str(), 0664);
    EXPECT_FALSE(check_foreign_xen_config(file, rules)) << "a group may write it";
    rules.check = false;
    EXPECT_TRUE(check_foreign_xen_config(file, rules));
}

TEST_F(DefinitionRulesTest, TakesOrdinaryGuests)
{
    const std::string disk = root + "/images/web1.qcow2";
    const std::vector<std::vector<std::string>> lines = {
        {"-M", "q35,accel=kvm", "-cpu", "Skylake-Server,+vmx", "-smp", "4", "-m", "4G"},
        {"-drive", "file=" + disk + ",if=virtio,cache=none,format=qcow2"},
        {"-blockdev", R"({"driver":"qcow2","node-name":"d","file":{"driver":"file","filename":")" +
                          disk + "\"}}"},
        {"-blockdev", "driver=raw,node-name=d,file.driver=file,file.filename=" + disk},
        {"-netdev", "tap,id=net0,ifname=web1-0,script=no,downscript=no,vhost=on"},
        {"-netdev", "user,id=net0,net=10.1.0.0/24,hostfwd=tcp::2222-:22"},
        {"-device", "virtio-net-pci,netdev=net0,mac=52:54:00:01:02:03,romfile="},
        {"-device", R"({"driver":"virtio-blk-pci","drive":"d"})"},
        {"-kernel", root + "/images/vmlinuz", "-append", "root=/dev/vda1 ro"},
        {"-serial", "file:" + root + "/run/console.log"},
        {"-serial", "unix:" + root + "/run/control.sock,server=on,wait=off"},
        {"-chardev", "socket,id=c,path=agent.sock,server=on,wait=off"},
        {"-object", "rng-random,id=r,filename=/dev/urandom"},
        {"-object", "memory-backend-memfd,id=m,size=4G"},
        {"-display", "none", "-vga", "none", "-rtc", "base=utc"},
        {"-vnc", "127.0.0.1:1,password=on"},
        {"-fw_cfg", "name=opt/org.example/key,string=a/b"},
        {"-smbios", "type=1,serial=ds=nocloud;s=http://x/"},
        {disk}};
    for (const auto& line : lines)
        EXPECT_EQ(refusal(line), "") << line.front();
}

TEST_F(DefinitionRulesTest, RefusesWhatReachesTheHost)
{
    std::filesystem::create_symlink("/etc", root + "/images/link");
    const std::vector<std::vector<std::string>> lines = {
        {"-serial", "file:/etc/cron.d/x"},
        {"-serial", "unix:/run/docker.sock"},
        {"-serial", "mon:stdio"},
        {"-serial", "/dev/ttyS0"},
        {"-serial", "tcp::1,logfile=/etc/cron.d/x"},
        {"-monitor", "tcp::4444,server"},
        {"-qmp", "unix:x,server"},
        {"-mon", "chardev=c"},
        {"-D", "/etc/cron.d/x"},
        {"-pidfile", "/etc/x"},
        {"-plugin", "/tmp/x.so"},
        {"-incoming", "exec:touch /tmp/x"},
        {"-readconfig", "/etc/x"},
        {"-set", "drive.d.file=/etc/shadow"},
        {"-chardev", "file,id=c,path=/etc/cron.d/x"},
        {"-chardev", "pipe,id=c,path=/etc/x"},
        {"-chardev", "stdio,id=c"},
        {"-chardev", "null,id=c,logfile=/etc/x"},
        {"-netdev", "tap,id=n,script=/tmp/x"},
        {"-netdev", "tap,id=n,script=no,downscript=/tmp/x"},
        {"-netdev", R"({"type":"tap","id":"n","script":"/tmp/x"})"},
        {"-netdev", "tap,id=n,helper=/tmp/x"},
        {"-netdev", "user,id=n,guestfwd=tcp:10.0.2.100:1-cmd:sh"},
        {"-netdev", R"({"type":"user","id":"n","guestfwd":[{"str":"tcp:10.0.2.100:1-cmd:sh"}]})"},
        {"-nic", "tap,script=x"},
        {"-net", "tap,script=x"},
        {"-drive", "file=/dev/sda"},
        {"-drive", "file=/etc/shadow,format=raw"},
        {"-drive", "file=" + root + "/images/../x"},
        {"-drive", "file=" + root + "/images/link/shadow"},
        {"-drive", "file=" + root + "/imagesx/x"},
        {"-drive", "file=fat:rw:x"},
        {"-drive", "file=nbd:host:10809"},
        {"-drive", R"(file=json:{"driver":"file"})"},
        {"-drive", "driver=ssh,host=x,path=y"},
        {"-blockdev", R"({"driver":"raw","file":{"driver":"host_device","filename":"/dev/sda"}})"},
        {"-blockdev", R"({"driver":"raw","file":{"driver":"nvme","device":"0000:01:00.0"}})"},
        {"-hda", "/dev/sda"},
        {"/dev/sda"},
        {"-kernel", "/etc/shadow"},
        {"-initrd", root + "/images/a,/etc/shadow"},
        {"-fw_cfg", "name=opt/x,file=/etc/shadow"},
        {"-smbios", "file=/etc/shadow"},
        {"-device", "vfio-pci,host=0000:05:00.0"},
        {"-device", "usb-host,hostbus=1"},
        {"-device", "virtio-net-pci,romfile=/etc/shadow"},
        {"-device", R"({"driver":"loader","file":"x"})"},
        {"-object", "filter-dump,id=f,netdev=n,file=x"},
        {"-object", "memory-backend-file,id=m,mem-path=/etc/x,size=1M"},
        {"-object", "id=m"},
        {"-M", "pc,dumpdtb=x"},
        {"-virtfs", "local,path=/,mount_tag=x,security_model=none"},
        {"-fsdev", "local,id=f,path=/"},
        {"-vmm", "qemu,path=/tmp/x"},
        {"-vnc", "unix:/etc/x"},
        {"-new-option", "x"},
        {"--serial", "file:/etc/x"}};
    for (const auto& line : lines)
        EXPECT_NE(refusal(line), "") << line.front() << " " << line.back();
}

TEST_F(DefinitionRulesTest, NoMonitorIsShownOnAScreen)
{
    const auto good = [this](const std::vector<std::string>& line) {
        return check_foreign_command(line, rules, root + "/run").has_value();
    };
    EXPECT_FALSE(good({"-m", "1G"})) << "QEMU would choose a display by itself";
    EXPECT_FALSE(good({"-m", "1G", "-vnc", ":1"}));
    EXPECT_FALSE(good({"-display", "none", "-vnc", ":1"}));
    EXPECT_TRUE(good({"-display", "none"}));
    EXPECT_TRUE(good({"-nographic"}));
    EXPECT_TRUE(good({"-monitor", "none", "-vnc", ":1"}));
}

TEST_F(DefinitionRulesTest, TakesWhatTheConfigurationAllows)
{
    const std::vector<std::string> disk = {"-drive", "file=rbd:guests/web1,format=raw"};
    EXPECT_NE(refusal(disk), "");
    rules.allow = {"-drive file=rbd:guests/*,format=raw", "-device vfio-pci,host=0000:05:00.0"};
    EXPECT_EQ(refusal(disk), "");
    EXPECT_EQ(refusal({"--device", "vfio-pci,host=0000:05:00.0"}), "");
    EXPECT_NE(refusal({"-device", "vfio-pci,host=0000:06:00.0"}), "");
    EXPECT_NE(refusal({"-drive", "file=rbd:guests/x,file=/dev/sda,format=raw"}), "")
        << "\"*\" ends at a comma";
    rules.check = false;
    EXPECT_EQ(refusal({"-serial", "file:/etc/x"}), "");
}

} // namespace
} // namespace drover::balancer
