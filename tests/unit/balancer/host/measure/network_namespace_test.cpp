// SPDX-License-Identifier: GPL-2.0-or-later
//
// The kernel's own queues and drops: a thread with a network namespace of its own, in which a host
// has an uplink with tbf, and guests' taps on a bridge.
#include "contrib/balancer/host/measure/load_monitor.h"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>

namespace drover::balancer {

namespace {

/// Runs `test` in a new network namespace, of its own thread only. Returns why it could not.
std::string in_namespace(const std::function<void()>& test)
{
    std::string why;
    std::thread([&] {
        if (unshare(CLONE_NEWNET) < 0)
            why = std::string("no network namespace: ") + strerror(errno);
        else
            test();
    }).join();
    return why;
}

/// As if seconds went by.
void sample(LoadMonitor& monitor, int second)
{
    monitor.sample({TimePoint(std::chrono::seconds(1000 + second)), 0});
}

bool run(const std::string& command)
{
    return std::system((command + " 2>/dev/null").c_str()) ==
           0; // NOLINT(bugprone-command-processor,cert-env33-c)
}

/// A host's end of the link: "up0", 1 MB/s; its other end only swallows.
bool make_uplink()
{
    return run("ip link add up0 type veth peer name far0") && run("ip link set up0 up") &&
           run("ip link set far0 up") &&
           run("tc qdisc replace dev up0 root tbf rate 8mbit burst 10kb limit 100kb");
}

/// `count` Ethernet broadcasts of 1000 bytes.
std::string frame()
{
    std::string frame(1000, 'x');
    std::fill_n(frame.begin(), 6, '\xff');
    frame.replace(6, 6, "\x02\x00\x00\x00\x00\x01", 6);
    frame.replace(12, 2, "\x88\xb5", 2); // for experiments
    return frame;
}

void send_out_of(const char* name, int count)
{
    const UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    const int size = 8 << 20;
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    sockaddr_ll to = {};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(if_nametoindex(name));
    for (int i = 0; i < count; ++i)
        (void)sendto(fd.get(), frame().data(), frame().size(), MSG_DONTWAIT,
                     reinterpret_cast<sockaddr*>(&to), sizeof to);
}

/// A tap as an emulator holds it: what is written to the descriptor is what the guest sends.
UniqueFd make_tap(const char* name)
{
    UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    ifreq request = {};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (!fd || ioctl(fd.get(), TUNSETIFF, &request) < 0 ||
        !run(std::string("ip link set ") + name + " master br0") ||
        !run(std::string("ip link set ") + name + " up"))
        return {};
    return fd;
}

void guest_sends(const UniqueFd& tap, int count)
{
    for (int i = 0; i < count; ++i)
        ASSERT_EQ(write(tap.get(), frame().data(), frame().size()), 1000);
}

const NicLoad* find_nic(const HostLoad& host, std::string_view name)
{
    const auto found = std::find_if(host.nics.begin(), host.nics.end(),
                                    [&](const NicLoad& nic) { return nic.name == name; });
    return found == host.nics.end() ? nullptr : &*found;
}

} // namespace

TEST(NetworkNamespace, QueueAndDropsOfATbf)
{
    std::string skip;
    std::string why = in_namespace([&] {
        if (!make_uplink()) {
            skip = "no veth or tbf here (ip, tc, and the kernel's modules)";
            return;
        }
        LoadMonitor monitor({});
        sample(monitor, 0);
        const NicLoad* nic = find_nic(monitor.host(), "up0");
        ASSERT_TRUE(nic);
        EXPECT_EQ(nic->capacity, 1e6); // of the tbf, not the 10 Gbit/s that a veth claims
        send_out_of("up0", 1000);
        sample(monitor, 1);
        nic = find_nic(monitor.host(), "up0");
        ASSERT_TRUE(nic);
        EXPECT_GT(nic->backlog, 50e3);
        EXPECT_GT(nic->drops, 100);
        EXPECT_FALSE(find_nic(monitor.host(), "lo"));
    });
    if (!why.empty() || !skip.empty())
        GTEST_SKIP() << why << skip;
}

TEST(NetworkNamespace, WhoSendsIsToldFromWhoIsIdle)
{
    std::string skip;
    std::string why = in_namespace([&] {
        UniqueFd busy;
        UniqueFd idle;
        if (!make_uplink() || !run("ip link add br0 type bridge") || !run("ip link set br0 up") ||
            !run("ip link set up0 master br0") || !(busy = make_tap("tap0")) ||
            !(idle = make_tap("tap1"))) {
            skip = "no veth, tbf, bridge or tap here";
            return;
        }
        LoadMonitor monitor({.nics = {{"up0", 0}}});
        monitor.add({.name = "busy",
                     .pid = getpid(),
                     .nics = {{.id = "net0", .ifname = "tap0", .expected = 25e6}}});
        monitor.add({.name = "idle",
                     .pid = getpid(),
                     .nics = {{.id = "net0", .ifname = "tap1", .expected = 25e6}}});
        guest_sends(busy, 1);
        sample(monitor, 0);
        guest_sends(busy, 2000);
        sample(monitor, 1);
        const VmNicLoad& sender = monitor.vms()[0].nics[0];
        const VmNicLoad& sleeper = monitor.vms()[1].nics[0];
        EXPECT_GT(sender.tx, 0);
        EXPECT_EQ(sender.rx, 0);
        EXPECT_GT(sender.backlog, 0);
        EXPECT_TRUE(sender.wants_more);
        EXPECT_EQ(sleeper.tx, 0);
        EXPECT_FALSE(sleeper.wants_more);
        ASSERT_EQ(monitor.host().nics.size(), 1U);
        EXPECT_GT(monitor.host().nics[0].drops, 0);
        sample(monitor, 2);
        EXPECT_FALSE(monitor.vms()[0].nics[0].wants_more); // it stopped
    });
    if (!why.empty() || !skip.empty())
        GTEST_SKIP() << why << skip;
}

} // namespace drover::balancer
