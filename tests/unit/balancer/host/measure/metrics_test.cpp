// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/metrics_page.h"
#include "contrib/balancer/host/measure/metrics_server.h"
#include "tests/unit/monitor/loop_testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <set>
#include <sstream>

namespace drover::balancer {

namespace {

using testing::run_until;

UniqueFd connect_to(uint16_t port)
{
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        return {};
    return fd;
}

/// All that comes on `fd` until its end.
std::string read_to_end(const UniqueFd& fd)
{
    std::string text;
    bool ended = false;
    const auto source = loop::watch(fd.get(), G_IO_IN, [&](GIOCondition) {
        char buffer[4096];
        const ssize_t n = recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n > 0)
            text.append(buffer, static_cast<size_t>(n));
        ended = ended || n == 0 || (n < 0 && errno != EAGAIN);
    });
    EXPECT_TRUE(run_until([&] { return ended; }));
    return text;
}

std::string ask(uint16_t port, const std::string& request)
{
    const UniqueFd fd = connect_to(port);
    EXPECT_EQ(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    return read_to_end(fd);
}

std::string get(const char* path)
{
    return std::string("GET ") + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
}

std::unique_ptr<MetricsServer> serve(std::function<std::string()> page)
{
    auto server = MetricsServer::start("127.0.0.1", 0, std::move(page));
    EXPECT_TRUE(server) << server.error().text();
    return server ? std::move(*server) : nullptr;
}

bool has_line(const std::string& page, const std::string& line)
{
    return ("\n" + page).find("\n" + line + "\n") != std::string::npos;
}

} // namespace

TEST(MetricsPage, BaseUnitsAndLabels)
{
    HostLoad host;
    host.cores = 4;
    host.cpu_busy = 2.5;
    host.swap_out = 4096;
    host.cpu_by_core = {1, 0.5};
    host.io_pressure = {0.25, 0};
    host.nics = {{"eth0", 125e6, 1, 2, 3, 4}};
    host.disks = {{"sda", 1, 2, 0.005, 0.5}};
    VmLoad vm;
    vm.name = "a\"b\\c\nd\xff";
    vm.cpu = 1.5;
    vm.vcpus = 2;
    vm.nics = {{"net0", 25e6, 1, 2, 3, 4, "eth0", true}};
    const std::string page = metrics_page(host, {vm}, {{"web", "running"}});

    EXPECT_TRUE(has_line(page, "drover_host_cores 4")) << page;
    EXPECT_TRUE(has_line(page, "drover_host_cpu_busy_cores 2.5"));
    EXPECT_TRUE(has_line(page, "drover_host_swap_out_bytes_per_second 4096"));
    EXPECT_TRUE(has_line(page, "drover_host_core_busy_ratio{core=\"1\"} 0.5"));
    EXPECT_TRUE(has_line(page, "drover_host_io_pressure_some_ratio 0.25"));
    EXPECT_TRUE(has_line(page, "drover_host_nic_capacity_bytes_per_second{nic=\"eth0\"} 1.25e+08"));
    EXPECT_TRUE(has_line(page, "drover_host_disk_latency_seconds{disk=\"sda\"} 0.005"));
    const std::string label = "vm=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\"";
    EXPECT_TRUE(has_line(page, "drover_vm_cpu_cores{" + label + "} 1.5"));
    EXPECT_TRUE(has_line(page, "drover_vm_nic_wants_more{" + label + ",nic=\"net0\"} 1"));
    EXPECT_TRUE(has_line(page, "drover_vm_state{vm=\"web\",state=\"running\"} 1"));
    EXPECT_EQ(page.find("_time"), std::string::npos); // a scrape has a time of its own
}

TEST(MetricsPage, EachMetricHasOneHeadBeforeItsSamples)
{
    HostLoad host;
    host.nics = {{"eth0"}, {"eth1"}};
    host.cpu_by_core = {0, 0};
    VmLoad vm;
    vm.nics = {{"net0"}, {"net1"}};
    std::vector<VmLoad> vms(3, vm);
    for (size_t i = 0; i < vms.size(); ++i)
        vms[i].name = "vm" + std::to_string(i);
    std::istringstream page(metrics_page(host, vms, {{"vm0", "paused"}, {"vm1", "moving"}}));
    std::set<std::string> metrics;
    std::set<std::string> samples;
    std::string current;
    for (std::string line; std::getline(page, line);) {
        if (line.starts_with("# TYPE ")) {
            current = line.substr(7, line.find(' ', 7) - 7);
            EXPECT_TRUE(metrics.insert(current).second) << current;
        } else if (!line.starts_with("# HELP ")) {
            EXPECT_EQ(line.substr(0, line.find_first_of("{ ")), current);
            EXPECT_TRUE(samples.insert(line.substr(0, line.rfind(' '))).second) << line;
        }
    }
    EXPECT_GT(metrics.size(), 30U);
    EXPECT_GT(samples.size(), metrics.size());
}

TEST(MetricsServer, ServesThePageAsItIsNow)
{
    int asked = 0;
    const auto server = serve([&] { return "count " + std::to_string(++asked) + "\n"; });
    const std::string first = ask(server->port(), get("/metrics"));
    EXPECT_TRUE(first.starts_with("HTTP/1.1 200 OK\r\n")) << first;
    EXPECT_NE(first.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
              std::string::npos);
    EXPECT_TRUE(first.ends_with("\r\n\r\ncount 1\n")) << first;
    EXPECT_TRUE(ask(server->port(), get("/metrics")).ends_with("count 2\n"));
    EXPECT_TRUE(run_until([&] { return server->connections() == 0; }));
}

TEST(MetricsServer, NothingElseIsThere)
{
    const auto server = serve([] { return std::string("x\n"); });
    for (const char* path : {"/", "/metrics/x", "/metricsx", "/../etc/passwd", "/metric"})
        EXPECT_TRUE(ask(server->port(), get(path)).starts_with("HTTP/1.1 404 ")) << path;
    const std::string post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    EXPECT_TRUE(ask(server->port(), post).starts_with("HTTP/1.1 405 "));
    ask(server->port(), "\x16\x03\x01 what is this\r\n\r\n");
    EXPECT_TRUE(ask(server->port(), get("/metrics")).starts_with("HTTP/1.1 200 "));
}

TEST(MetricsServer, ConnectionsAreBounded)
{
    const auto server = serve([] { return std::string("x\n"); });
    std::vector<UniqueFd> idle;
    for (unsigned i = 0; i < MetricsServer::max_connections; ++i) {
        idle.push_back(connect_to(server->port()));
        ASSERT_TRUE(run_until([&] { return server->connections() == idle.size(); }));
    }
    EXPECT_EQ(read_to_end(connect_to(server->port())), ""); // hung up at once
    EXPECT_EQ(server->connections(), MetricsServer::max_connections);
    idle.clear();
    EXPECT_TRUE(run_until([&] { return server->connections() == 0; }));
    EXPECT_TRUE(ask(server->port(), get("/metrics")).starts_with("HTTP/1.1 200 "));
}

TEST(MetricsServer, GoesWithConnectionsOpen)
{
    auto server = serve([] { return std::string("x\n"); });
    const UniqueFd idle = connect_to(server->port());
    ASSERT_TRUE(run_until([&] { return server->connections() == 1; }));
    server.reset();
    EXPECT_EQ(read_to_end(idle), "");
}

TEST(MetricsServer, SaysWhyItCannotListen)
{
    const auto first = serve([] { return std::string(); });
    const auto second = MetricsServer::start("127.0.0.1", first->port(), nullptr);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find(std::to_string(first->port())), std::string::npos);
    EXPECT_FALSE(MetricsServer::start("localhost", 0, nullptr));
}

} // namespace drover::balancer
