// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_host.h"
#include "vmm/qemu/blockers.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

std::optional<std::string> blocker_of(std::string_view line)
{
    FakeHost host;
    host.files["/etc/guest.cfg"] = "[device \"d0\"]\n  driver = \"vfio-pci\"\n  host = \"1\"\n";
    host.files["/etc/plain.cfg"] = "[device \"d0\"]\n  driver = \"virtio-net-pci\"\n";
    return migration_blocker(words(line), host.facts());
}

TEST(Blockers, AreFoundWhereverQemuTakesThem)
{
    for (const char* line :
         {"-device vfio-pci,host=1", "-device driver=vfio-pci", "-netdev vhost-user,id=n,chardev=c",
          "-netdev type=vhost-vdpa,id=n", R"(-device '{"driver": "vfio-pci"}')",
          "-drive file=/d.img,aio=native", "-drive aio=io_uring,file=/d.img",
          R"(-blockdev '{"driver":"file","filename":"/d","aio":"native"}')",
          "-drive file=nvme://0000:44:00.0/1", "-set drive.d0.aio=native",
          "-blockdev driver=nvme,node-name=n,device=0000:01:00.0,namespace=1",
          R"(-blockdev '{"device":"0000:01:00.0","namespace":1,"driver":"nvme"}')",
          "-device vhost-vsock-pci,guest-cid=3", "-readconfig /etc/guest.cfg"})
        EXPECT_TRUE(blocker_of(line)) << line;
}

TEST(Blockers, AreNotSeenInNamesOfTheUsers)
{
    for (const char* line :
         {"-drive file=/srv/vfio-test.img,format=raw", "-name vfio-pci", "-append vfio-pci",
          "-netdev tap,id=vhost0,vhost=on", "-drive file=/d.img,aio=threads",
          R"(-blockdev '{"driver":"file","filename":"/srv/my-vhost-user.img"}')",
          "-device nvme,serial=1,drive=d", "-blockdev driver=rbd,pool=p,namespace=nvme,image=i",
          "-readconfig /etc/plain.cfg", "-readconfig /dev/fd/7"})
        EXPECT_FALSE(blocker_of(line)) << line << ": " << blocker_of(line).value_or("");
}

TEST(Blockers, SayWhy)
{
    EXPECT_EQ(migration_blocker(R"({"driver":"vfio-pci"})").value_or(""),
              "this guest cannot be migrated: a VFIO device writes guest RAM by itself "
              R"(({"driver":"vfio-pci"}))");
    EXPECT_NE(blocker_of("-readconfig /etc/guest.cfg").value_or("").find("/etc/guest.cfg"),
              std::string::npos);
}

} // namespace
} // namespace drover::qemu
