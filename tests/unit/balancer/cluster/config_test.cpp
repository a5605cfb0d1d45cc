// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/config.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

namespace drover::balancer::cluster {
namespace {

const std::string host = "[[host]]\nname = \"a\"\naddress = \"unix:/run/a\"\n";

/// The only fault, as --check prints it.
std::string fault(const std::string& text)
{
    const ConfigReading reading = read_config(text);
    std::string all;
    for (const ConfigFault& one : reading.faults)
        all += (all.empty() ? "" : "\n") + describe("f", one);
    return all;
}

void expect_fault(const std::string& text, const std::string& begin, const std::string& remedy)
{
    const std::string found = fault(text);
    EXPECT_TRUE(found.starts_with(begin)) << found;
    EXPECT_NE(found.find(remedy), std::string::npos) << found;
    EXPECT_EQ(found.find('\n'), std::string::npos) << found; // one fault, and no more
}

TEST(Config, the_sample_is_good_and_says_what_the_defaults_are)
{
    const std::string path = std::string(DROVER_SOURCE_ROOT) + "/docs/examples/fleet.toml";
    const ConfigReading reading = read_config_file(path);
    for (const ConfigFault& one : reading.faults)
        ADD_FAILURE() << describe(path, one);
    const Config sample = read_config_file(path).config;
    const Config bare = read_config(host).config;
    EXPECT_EQ(sample.mode, bare.mode);
    EXPECT_EQ(sample.listen.front(), bare.listen.front());
    EXPECT_EQ(sample.state_dir, bare.state_dir);
    EXPECT_EQ(sample.journal, bare.journal);
    EXPECT_EQ(sample.thresholds.cpu, bare.thresholds.cpu);
    EXPECT_EQ(sample.thresholds.bandwidth, bare.thresholds.bandwidth);
    EXPECT_EQ(sample.thresholds.memory, bare.thresholds.memory);
    EXPECT_EQ(sample.thresholds.swap_out, bare.thresholds.swap_out);
    EXPECT_EQ(sample.thresholds.persistence, bare.thresholds.persistence);
    EXPECT_EQ(sample.thresholds.swap_persistence, bare.thresholds.swap_persistence);
    EXPECT_EQ(sample.limits.migrations_in, bare.limits.migrations_in);
    EXPECT_EQ(sample.limits.cool_down, bare.limits.cool_down);
    EXPECT_EQ(sample.reserve.cpu, bare.reserve.cpu);
    EXPECT_EQ(sample.policies.at("quick"),
              "preset=urgent,deadline=30s,on-stall=slow:postcopy:switch");
    ASSERT_EQ(sample.hosts.size(), 3U);
    EXPECT_EQ(sample.hosts[1].thresholds.cpu, 0.75);
    EXPECT_EQ(sample.hosts[1].thresholds.memory, 0.95); // the fleet's
    EXPECT_EQ(sample.hosts[1].limits.migrations_in, 1U);
    EXPECT_EQ(sample.hosts[2].reserve.memory, 0.2);
    EXPECT_TRUE(sample.hosts[2].maintenance);
    ASSERT_EQ(sample.rules.size(), 3U);
    EXPECT_EQ(sample.rules[2].name, "rule 3");
}

TEST(Config, the_policies_of_moves_are_defined)
{
    const std::string file = "[balancer]\npolicy = \"calm\"\n[policy.quick]\ndowntime = \"50ms\"\n";
    expect_fault(file + host, "f:2:10: no policy 'calm' is defined", "add [policy.calm]");
    const Config good = read_config("[balancer]\nurgent-policy = \"quick\"\n[policy.quick]\n"
                                    "downtime = \"50ms\"\n" +
                                    host)
                            .config;
    EXPECT_EQ(good.urgent_policy, "quick");
    EXPECT_EQ(good.policy, "");
}

TEST(Config, a_check_looks_for_the_files_that_are_named)
{
    char path[] = "/tmp/drover-check-XXXXXX";
    close(mkstemp(path));
    const std::string file = path;
    const auto check = [&file](const std::string& key) {
        std::ofstream(file) << "[balancer]\ntls = { ca = \"" << file << "\", cert = \"" << file
                            << "\", key = \"" << key << "\" }\n"
                            << host;
        return check_config(file, false);
    };
    EXPECT_EQ(check(file), 0);
    EXPECT_EQ(check("/nonexistent/balancer.key"), 1);
    unlink(path);
}

TEST(Config, units_are_read)
{
    const auto with = [](const std::string& line) {
        const ConfigReading reading = read_config("[thresholds]\n" + line + "\n" + host);
        EXPECT_TRUE(reading.faults.empty()) << line;
        return reading.config.thresholds;
    };
    EXPECT_DOUBLE_EQ(with("cpu = 0.7").cpu, 0.7);
    EXPECT_DOUBLE_EQ(with("cpu = \"70%\"").cpu, 0.7);
    EXPECT_DOUBLE_EQ(with("cpu = 1").cpu, 1);
    EXPECT_DOUBLE_EQ(with("swap-out = 500").swap_out, 500);
    EXPECT_DOUBLE_EQ(with("swap-out = \"2MiB/s\"").swap_out, 2 << 20);
    EXPECT_DOUBLE_EQ(with("swap-out = \"1Gbit/s\"").swap_out, 125e6);
    EXPECT_EQ(with("persistence = \"2min\"").persistence, 120);
    EXPECT_EQ(with("swap-persistence = 7").swap_persistence, 7);
}

TEST(Config, faults_have_their_place_and_a_remedy)
{
    expect_fault("[thresholds]\ncpuu = 0.7\n" + host, "f:2:1: thresholds has no 'cpuu'",
                 "did you mean 'cpu'?");
    expect_fault("[thresholds]\ncpu = 85\n" + host, "f:2:7: cpu is out of its range",
                 "from 5 to 100 %");
    expect_fault("[thresholds]\nswap-out = \"fast\"\n" + host, "f:2:12: swap-out cannot be read",
                 "4MB/s");
    // The form of earlier versions, in samples.
    expect_fault("[thresholds]\npersistence = \"3 of 5\"\n" + host,
                 "f:2:15: persistence cannot be read", "\"30s\"");
    expect_fault("[balancer]\nmode = \"auto\"\n" + host, "f:2:8: there is no mode 'auto'",
                 "\"automatic\"");
    expect_fault("[limits]\nmax-migrations-in = -1\n" + host,
                 "f:2:21: max-migrations-in is out of its range", "from 0 to 64");
    expect_fault("[limits]\ncool-down = \"1 week\"\n" + host, "f:2:13: cool-down", "5min");
    expect_fault("[balancer\n", "f:1:", "TOML");
    expect_fault("[policy.fast]\ndowntime = \"0ms\"\n" + host, "f:2:12: the migration policy's",
                 "from 1ms");
    expect_fault("[policy.fast]\ndown-time = \"50ms\"\n" + host, "f:2:13: the migration policy",
                 "downtime");
    expect_fault("[[host]]\nname = \"a\"\naddress = \"http://a\"\n", "f:3:11: ", "unix:PATH");
    expect_fault("[[host]]\nname = \"a\"\naddress = \"tls:a:9700\"\n", "f:3:11: ", "tls = {");
    expect_fault("[[host]]\nname = \"a b\"\naddress = \"unix:/a\"\n", "f:2:8: 'a b'", "64");
    expect_fault("[[host]]\nname = \"a\"\n", "f:1:1: host a has no address", "tls:a:9700");
    expect_fault("[balancer]\nmode = \"off\"\n", "f:1:1: no host", "[[host]]");
    expect_fault(host + "[[host]]\nname = \"a\"\naddress = \"unix:/run/b\"\n",
                 "f:5:8: two hosts are named a", "unique");
    expect_fault(host + "[[hosts]]\nname = \"b\"\n", "f:4:3: the file has no 'hosts'",
                 "did you mean 'host'?");
}

TEST(Config, rules_that_contradict_themselves_are_found)
{
    const std::string hosts = host + "group = \"x\"\n[[host]]\nname = \"b\"\naddress = "
                                     "\"unix:/run/b\"\ngroup = \"y\"\n[policy.quiet]\n";
    const auto rule = [](const std::string& words) { return "[[rule]]\n" + words + "\n"; };
    expect_fault(hosts + rule("vms = [\"v\", \"w\"]\ntogether = true\napart = true"),
                 "f:13:9: rule 1 wants", "leave one");
    expect_fault(hosts + rule("vms = [\"v\", \"w\"]\ntogether = true") +
                     rule("name = \"two\"\nvms = [\"w\", \"v\"]\napart = true"),
                 "f:13:1: two contradicts rule 1", "take one");
    expect_fault(hosts + rule("vms = [\"v\"]\npolicy = \"quite\""),
                 "f:12:10: no policy 'quite' is defined", "did you mean 'quiet'?");
    expect_fault(hosts + rule("vms = [\"v\"]\ngroups = [\"z\"]"), "f:12:10: no host is of",
                 "group = \"z\"");
    expect_fault(hosts + rule("vms = [\"v\"]\ngroups = [\"x\"]") +
                     rule("vms = [\"v\"]\ngroups = [\"y\"]"),
                 "f:13:1: rule 2 contradicts rule 1: no host group is left for v", "share");
    expect_fault(hosts + rule("vms = [\"v\"]\ngroups = [\"x\"]") +
                     rule("vms = [\"w\"]\ngroups = [\"y\"]") +
                     rule("vms = [\"v\", \"w\"]\ntogether = true"),
                 "f:16:1: rule 3: its VMs may not", "share");
    expect_fault(hosts + rule("vms = [\"t\", \"u\", \"v\"]\napart = true"),
                 "f:10:1: rule 1 wants 3 VMs apart on 2 hosts", "add hosts");
    expect_fault(hosts + rule("pinned = true"), "f:10:1: rule 1 is about no VM", "vms = ");
    expect_fault(hosts + rule("vms = [\"v\"]"), "f:10:1: rule 1 asks for nothing", "pinned");
}

TEST(Config, all_faults_are_told_at_once_by_line)
{
    const ConfigReading reading = read_config("[thresholds]\ncpu = 7\nmem = 1\n" + host +
                                              "maintenance = \"yes\"\n[nonsense]\n");
    ASSERT_EQ(reading.faults.size(), 4U);
    for (size_t i = 1; i < reading.faults.size(); ++i)
        EXPECT_LT(reading.faults[i - 1].line, reading.faults[i].line);
    const Json json = to_json("f", reading);
    EXPECT_FALSE(json["good"]);
    EXPECT_EQ(json["faults"].size(), 4U);
}

TEST(Config, a_file_that_is_not_there_is_a_fault)
{
    EXPECT_EQ(check_config("/nowhere/fleet.toml", false), 1);
}

} // namespace
} // namespace drover::balancer::cluster
