// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/xen_meter.h"

#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

constexpr uint64_t second = 1'000'000'000;
constexpr double mib = 1 << 20;

/// As drover-xen tells: two processors, Dom0, one guest.
Json told(double time, uint64_t guest_ns, uint64_t idle_0, uint64_t idle_1)
{
    const Json dom0{{"id", 0}, {"uuid", "0"}, {"name", "Domain-0"}, {"cpu", 7 * second}};
    const Json guest{{"id", 3},           {"uuid", "u"},     {"name", "web"},       {"hvm", true},
                     {"vcpus", 2},        {"cpu", guest_ns}, {"memory", 256 * mib}, {"model", 77},
                     {"vifs", {"vif3.0"}}};
    return {{"time", time},
            {"cores", 2},
            {"memory", 4096 * mib},
            {"free", 1000 * mib},
            {"idle", {idle_0, idle_1}},
            {"domains", {dom0, guest}}};
}

void tell(XenMeter& meter, const Json& json)
{
    auto facts = parse_xen_facts(json);
    ASSERT_TRUE(facts) << facts.error().text();
    meter.take(std::move(*facts));
}

VmLoad measured_in_dom0()
{
    VmLoad load;
    load.name = "web";
    load.cpu = 0.1; // its device model
    load.cpu_wait = 0.3;
    load.resident = 40 * mib;
    return load;
}

TEST(XenFacts, SayWhichDomainsThereAre)
{
    const auto facts = parse_xen_facts(told(5, second, 0, 0));
    ASSERT_TRUE(facts) << facts.error().text();
    const XenDomainFacts* guest = facts->find("web");
    ASSERT_NE(guest, nullptr);
    EXPECT_EQ(guest->id, 3U);
    EXPECT_EQ(guest->model, 77);
    EXPECT_EQ(guest->vifs, std::vector<std::string>{"vif3.0"});
    EXPECT_TRUE(guest->hvm && guest->runs());
    EXPECT_EQ(facts->find("Domain-0"), nullptr) << "it is no guest";
    EXPECT_EQ(facts->find("other"), nullptr);
}

TEST(XenFacts, ADyingDomainIsNoneAndASuspendedOneDoesNotRun)
{
    Json json = told(5, second, 0, 0);
    json["domains"][1]["suspended"] = true;
    EXPECT_FALSE(parse_xen_facts(json)->find("web")->runs());
    json["domains"][1]["dying"] = true;
    EXPECT_EQ(parse_xen_facts(json)->find("web"), nullptr);
}

TEST(XenFacts, NonsenseIsRefusedAsAWhole)
{
    for (const char* member : {"idle", "domains", "cores", "memory"}) {
        Json json = told(5, second, 0, 0);
        json.erase(member);
        EXPECT_FALSE(parse_xen_facts(json)) << member;
    }
    Json json = told(5, second, 0, 0);
    json["idle"][0] = "long";
    EXPECT_FALSE(parse_xen_facts(json));
    json = told(5, second, 0, 0);
    json["domains"][1].erase("cpu");
    EXPECT_FALSE(parse_xen_facts(json));
    EXPECT_FALSE(parse_xen_facts(Json("facts")));
    EXPECT_FALSE(parse_xen_facts(Json::array()));
}

TEST(XenMeter, AGuestHasWhatXenGaveItAndWhatItsDeviceModelUses)
{
    XenMeter meter;
    tell(meter, told(10, 5 * second, second, second));
    tell(meter, told(12, 8 * second, second, second)); // three in two seconds
    VmLoad load = measured_in_dom0();
    meter.amend(load, 12.5);
    EXPECT_DOUBLE_EQ(load.cpu, 0.1 + 1.5);
    EXPECT_EQ(load.vcpus, 2U);
    EXPECT_DOUBLE_EQ(load.memory, 256 * mib);
    EXPECT_DOUBLE_EQ(load.resident, 256 * mib);
    EXPECT_EQ(load.cpu_wait, 0) << "that of its device model is not the guest's";
    EXPECT_EQ(load.gaps.size(), 1U);
}

TEST(XenMeter, AnotherDomainOfThatNameBeginsAnew)
{
    XenMeter meter;
    tell(meter, told(10, 5 * second, 0, 0));
    Json json = told(11, 6 * second, 0, 0);
    json["domains"][1]["uuid"] = "another";
    tell(meter, json);
    VmLoad load = measured_in_dom0();
    meter.amend(load, 11);
    EXPECT_DOUBLE_EQ(load.cpu, 0.1);
}

TEST(XenMeter, TheHostIsWhatIsNotIdleAndXensMemory)
{
    XenMeter meter;
    tell(meter, told(10, 0, 50 * second, 60 * second));
    tell(meter, told(12, 0, 51 * second, 62 * second)); // one was idle half the time
    HostLoad load;
    load.time = 1000;
    load.cores = 1; // Dom0's
    load.cpu_busy = 0.2;
    load.cpu_steal = 0.9;
    load.memory_total = 1500 * mib;
    load.swap_used = 1;
    load.gaps = {"no pressure: this kernel has no /proc/pressure (boot with psi=1)"};
    meter.amend(load, 12);
    EXPECT_DOUBLE_EQ(load.cores, 2);
    EXPECT_DOUBLE_EQ(load.cpu_busy, 0.5);
    EXPECT_EQ(load.cpu_by_core, (std::vector<double>{0.5, 0}));
    EXPECT_EQ(load.cpu_steal + load.swap_used, 0);
    EXPECT_DOUBLE_EQ(load.memory_total, 4096 * mib);
    EXPECT_DOUBLE_EQ(load.memory_available, 1000 * mib);
    EXPECT_EQ(load.gaps.size(), 1U) << "Dom0's own are nobody's";
    EXPECT_EQ(load.time, 1000);
}

TEST(XenMeter, ProcessorsThatAreOfflineAreNotBusy)
{
    XenMeter meter;
    Json json = told(10, 0, 50 * second, 60 * second);
    json["cores"] = 1;
    tell(meter, json);
    json["time"] = 11;
    json["idle"][0] = 51 * second; // the other one's clock stands
    tell(meter, json);
    HostLoad load;
    meter.amend(load, 11);
    EXPECT_DOUBLE_EQ(load.cpu_busy, 0);
    EXPECT_TRUE(load.cpu_by_core.empty());
    EXPECT_EQ(load.gaps.size(), 2U);
}

/// Or the balancer would take it for idle.
TEST(XenMeter, AHostOfWhichNothingIsHeardIsNotFresh)
{
    XenMeter meter;
    HostLoad load;
    load.time = 1000;
    meter.amend(load, 10);
    EXPECT_EQ(load.time, 0);
    tell(meter, told(10, 0, 0, 0));
    load.time = 1000;
    meter.amend(load, 50);
    EXPECT_EQ(load.time, 960);
    VmLoad guest = measured_in_dom0();
    meter.amend(guest, 50);
    EXPECT_DOUBLE_EQ(guest.cpu, 0.1);
    EXPECT_FALSE(guest.gaps.empty());
    meter.forget();
    tell(meter, told(60, 9 * second, 0, 0)); // what lies between is not known
    guest = measured_in_dom0();
    meter.amend(guest, 60);
    EXPECT_DOUBLE_EQ(guest.cpu, 0.1);
}

} // namespace
} // namespace drover::balancer
