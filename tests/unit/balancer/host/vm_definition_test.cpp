// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/vm_definition.h"

#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

Json whole_definition()
{
    return {{"name", "web1"},
            {"kind", "drover"},
            {"emulator", "drover-system-x86_64"},
            {"command", {"-M", "pc", "-m", "512"}},
            {"policy", "downtime=50ms"},
            {"nic", Json::array({{{"id", "net0"},
                                  {"expected-bandwidth", 25e6},
                                  {"ifname", "web1-0"},
                                  {"bridge", "br0"}}})},
            {"pinned", true},
            {"autostart", true},
            {"groups", {"rack1"}},
            {"together", {"shop"}},
            {"apart", {"web"}},
            {"needs", {"kvm"}}};
}

TEST(VmDefinition, SurvivesTheWayThroughJson)
{
    const auto definition = vm_definition_from_json(whole_definition());
    ASSERT_TRUE(definition) << definition.error().text();
    EXPECT_EQ(to_json(*definition), whole_definition());
}

TEST(VmDefinition, TakesBandwidthInWords)
{
    Json json = whole_definition();
    json["nic"][0]["expected-bandwidth"] = "25MB/s";
    EXPECT_EQ(vm_definition_from_json(json)->nics.at(0).expected_bandwidth, 25e6);
}

struct Wrong {
    const char* member;
    Json value;
    const char* words;
};

TEST(VmDefinition, RefusesNonsenseAndSaysWhat)
{
    const Wrong wrongs[] = {
        {"name", "../etc", "name"},
        {"name", "", "name"},
        {"name", std::string(65, 'a'), "name"},
        {"name", ".hidden", "name"},
        {"kind", "vmware", "kind"},
        {"xen-config", "web1.cfg", "xen-config"},
        {"xen-config", 1, "xen-config"},
        {"command", "-M pc", "command"},
        {"command", {"-M", "pc", "-incoming", "defer"}, "-incoming"},
        {"command", {"--daemonize"}, "--daemonize"},
        {"command", {std::string("a\0b", 3)}, "command"},
        {"nic", {{{"id", "net0"}, {"ifname", "a name that is too long"}}}, "ifname"},
        {"nic", {{{"id", "net0"}, {"ifname", "x; rm"}}}, "ifname"},
        {"nic", {{{"id", "net0"}, {"bridge", "br0"}}}, "bridge"},
        {"nic", {{{"id", "net0"}, {"expected-bandwidth", -1}}}, "expected-bandwidth"},
        {"nic", {{{"id", "net0"}, {"expected-bandwidth", "fast"}}}, "expected-bandwidth"},
        {"pinned", "yes", "pinned"},
        {"apart", {1}, "apart"},
        {"aparte", {"web"}, "aparte"},
    };
    for (const Wrong& wrong : wrongs) {
        Json json = whole_definition();
        json[wrong.member] = wrong.value;
        const auto definition = vm_definition_from_json(json);
        ASSERT_FALSE(definition) << wrong.member << " " << dump_json(wrong.value);
        EXPECT_NE(definition.error().message.find(wrong.words), std::string::npos)
            << definition.error().text();
    }
    EXPECT_FALSE(vm_definition_from_json(Json("web1")));
}

VmDefinition of_kind(const char* kind, bool command, bool file)
{
    Json json = {{"name", "web1"}, {"kind", kind}};
    if (command)
        json["command"] = {"-M", "pc"};
    if (file)
        json["xen-config"] = "/etc/xen/web1.cfg";
    return vm_definition_from_json(json).value();
}

TEST(VmDefinition, TellsWhichHostsCanRunIt)
{
    EXPECT_TRUE(runs_on_qemu(of_kind("drover", true, false)));
    EXPECT_FALSE(runs_on_xen(of_kind("drover", true, false)));
    EXPECT_TRUE(runs_on_xen(of_kind("drover", true, true)));
    EXPECT_FALSE(runs_on_qemu(of_kind("xen", false, true)));
    EXPECT_TRUE(runs_on_qemu(of_kind("xen", true, true)));
    EXPECT_FALSE(runs_on_xen(of_kind("qemu", true, false)));
    EXPECT_FALSE(vm_definition_from_json(
        {{"name", "a"}, {"kind", "qemu"}, {"xen-config", "/etc/xen/a.cfg"}}));
}

TEST(VmDefinition, BecomesWhatItsNewHostRunsOrIsRefused)
{
    VmDefinition both = of_kind("drover", true, true);
    ASSERT_TRUE(adapt_kind(both, true));
    EXPECT_EQ(both.kind, VmKind::Xen);
    EXPECT_EQ(to_json(both)["xen-config"], "/etc/xen/web1.cfg");
    ASSERT_TRUE(adapt_kind(both, false));
    EXPECT_EQ(both.kind, VmKind::Drover);
    VmDefinition stock = of_kind("qemu", true, false);
    ASSERT_TRUE(adapt_kind(stock, false));
    EXPECT_EQ(stock.kind, VmKind::Qemu);
    EXPECT_FALSE(adapt_kind(stock, true));
    VmDefinition plain = of_kind("drover", true, false);
    EXPECT_FALSE(adapt_kind(plain, true));
    EXPECT_EQ(plain.kind, VmKind::Drover);
    VmDefinition xen = of_kind("xen", false, true);
    EXPECT_FALSE(adapt_kind(xen, false));
}

TEST(VmDefinition, ReplacesThePlacesOfTheHost)
{
    EXPECT_EQ(expand("file=${run}/disk,host=${host},${host}", "h1", "/r"),
              "file=/r/disk,host=h1,h1");
    EXPECT_EQ(expand("${host}", "${host}", "/r"), "${host}") << "what was put in is not looked at";
}

TEST(VmDefinition, AVmFileSaysWhereItIsWrong)
{
    const std::string path = ::testing::TempDir() + "vm.toml";
    std::ofstream(path) << "name = \"web1\"\ncommand = [\"-M\", \"pc\"]\n[[nic]]\nid = \"net0\"\n"
                           "expected-bandwidth = \"1MB/s\"\n";
    const auto good = read_vm_file(path);
    ASSERT_TRUE(good) << good.error().text();
    EXPECT_EQ(good->nics.at(0).expected_bandwidth, 1e6);
    std::ofstream(path) << "name = \"web1\"\ncommand = [\n";
    const auto bad = read_vm_file(path);
    ASSERT_FALSE(bad);
    EXPECT_NE(bad.error().message.find(path + ":"), std::string::npos) << bad.error().text();
}

} // namespace
} // namespace drover::balancer
