// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_top_view.h"
#include "tools/fleet_views.h"

#include <cmath>
#include <gtest/gtest.h>
#include <sstream>

namespace drover::tools {
namespace {

const Json busy_load = Json::parse(R"({"cores": 8, "cpu-busy": 7.2, "memory-total": 64e9,
    "memory-available": 32e9, "swap-out": 2e6,
    "nics": [{"name": "eth0", "capacity": 125e6, "rx": 10e6, "tx": 100e6}]})");

Json host(const std::string& name, bool hot = false)
{
    return {{"name", name},
            {"state", "up"},
            {"group", "rack1"},
            {"load", busy_load},
            {"vms", 3},
            {"migrations-in", 0},
            {"migrations-out", 1},
            {"hotspots", hot ? Json({"s1"}) : Json::array()}};
}

Json vm(const std::string& name)
{
    return {{"name", name},
            {"host", "host1"},
            {"state", "running"},
            {"kind", "drover"},
            {"policy", "patient"},
            {"pinned", false},
            {"hotspots", Json::array()},
            {"load", {{"cpu", 1.5}, {"cpu-wait", 0.25}, {"memory", 4e9}, {"dirty-rate", 1.2e8}}}};
}

FleetPicture picture(int hosts, int vms)
{
    FleetPicture all;
    all.status = {{"mode", "recommend"}, {"hosts", hosts},  {"vms", vms},
                  {"hotspots", 1},       {"migrations", 1}, {"round-ms", 2.5}};
    for (int i = 0; i < hosts; ++i)
        all.hosts.push_back(host("host" + std::to_string(i), i == hosts - 1));
    for (int i = 0; i < vms; ++i)
        all.vms.push_back(vm("vm" + std::to_string(i)));
    all.hotspots = Json::parse(R"([{"id": "s1", "kind": "cpu", "host": "host1", "since": 1000,
        "sure": 0.92, "cause": "vm3 burns 4 cores"}])");
    all.plan = Json::parse(R"({"id": "p4", "state": "awaits-approval", "mode": "recommend",
        "moves": [{"id": "m5", "vm": "vm3", "from": "host1", "to": "host0", "state": "proposed",
                   "gain": 0.5, "why": "host1 cools to 60 %", "policy": "patient",
                   "resolves": ["s1"],
                   "cost": {"seconds": 12.5, "bytes": 5e9, "downtime": 0.08}}],
        "rejected": [{"vm": "vm1", "to": "host0", "reason": "pinned", "why": "it is pinned"}],
        "verdicts": [{"hotspot": "s1", "verdict": "resolved", "why": "by m5"}]})");
    all.migrations = Json::parse(R"([{"id": "m4", "vm": "vm9", "from": "host0", "to": "host1",
        "state": "moving", "status": "active", "total": 4e9, "remaining": 1e9}])");
    return all;
}

std::vector<std::string> lines_of(const std::string& text)
{
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
        lines.push_back(line);
    return lines;
}

/// Without what colours it.
std::string bare(const std::string& text)
{
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\033')
            i = text.find('m', i);
        else
            out += text[i];
    }
    return out;
}

bool has(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

TEST(FleetCells, NothingThatATerminalObeysGetsThrough)
{
    EXPECT_EQ(clean("a\033[2Jb\r\n\tc\x7f"), "a?[2Jb???c?");
    EXPECT_EQ(clean("line\nline", true), "line\nline");
    EXPECT_EQ(clean("\xc2\x9b"
                    "31m"),
              "?31m")
        << "C1's CSI";
    EXPECT_EQ(clean("\xe2\x80\xae"
                    "abc"),
              "?abc")
        << "right-to-left override";
    EXPECT_EQ(clean("\xe2\x80\x8b|\xef\xbb\xbf|\xcc\x81"), "?|?|?") << "of no width";
    EXPECT_EQ(clean("\xff\xfe"
                    "a\xc3"),
              "??a?")
        << "no UTF-8";
    EXPECT_EQ(clean(std::string_view("a\0b", 3)), "a?b");
    EXPECT_EQ(clean("Gr\xc3\xb6\xc3\x9f"
                    "e \xe6\xbc\xa2"),
              "Gr\xc3\xb6\xc3\x9f"
              "e \xe6\xbc\xa2");
}

TEST(FleetCells, FitsToColumns)
{
    EXPECT_EQ(fit("abc", 5), "abc  ");
    EXPECT_EQ(fit("abc", 5, true), "  abc");
    EXPECT_EQ(fit("abcdef", 4), "abc~");
    EXPECT_EQ(fit("\xe6\xbc\xa2\xe6\xbc\xa2\xe6\xbc\xa2", 4), "\xe6\xbc\xa2~ ") << "wide ones";
    EXPECT_EQ(columns_of("\xc3\xb6\xe6\xbc\xa2"), 3U);
}

TEST(FleetCells, Quantities)
{
    EXPECT_EQ(bytes_text(0), "0 B");
    EXPECT_EQ(bytes_text(999.6), "1 kB");
    EXPECT_EQ(bytes_text(1.25e8), "125 MB");
    EXPECT_EQ(bytes_text(64e9), "64.0 GB");
    EXPECT_EQ(seconds_text(0.08), "80 ms");
    EXPECT_EQ(seconds_text(12.5), "12.5 s");
    EXPECT_EQ(seconds_text(600), "10 min");
    EXPECT_EQ(seconds_text(3 * 86400), "3 days");
    EXPECT_EQ(share_bar(0.5, 10), "[####----]");
    EXPECT_EQ(share_bar(7, 5), "[###]");
    EXPECT_EQ(share_bar(std::nan(""), 5), "[---]");
    EXPECT_EQ(json_quantity({{"x", -1}}, "x"), 0);
    EXPECT_EQ(json_quantity({{"x", "1"}}, "x"), 0);
    EXPECT_EQ(json_quantity(Json(), "x"), 0);
}

TEST(FleetViews, HostsShowLoadAgainstCapacity)
{
    const std::string text = show_hosts(Json::array({host("host1", true)}), {});
    for (const char* part : {"host1", "up", "rack1", "90 %", "50 %", "80 %", "2 MB/s", "s1"})
        EXPECT_TRUE(has(text, part)) << part << "\n" << text;
    EXPECT_FALSE(has(text, "\033"));
    EXPECT_EQ(lines_of(text).size(), 2U);
    const Json silent = {{"name", "dead"}, {"state", "unreachable"}};
    EXPECT_TRUE(has(show_hosts(Json::array({silent}), {}), "-"));
    EXPECT_EQ(show_hosts(Json::array(), {}), "no hosts\n");
}

TEST(FleetViews, PlanTellsCostGainAndWhy)
{
    const std::string text = show_plan(picture(1, 1).plan, {});
    for (const char* part :
         {"m5: vm3 from host1 to host0", "proposed", "gain 0.50", "12.5 s, 5.0 GB, pause 80 ms",
          "host1 cools to 60 %", "resolves s1", "policy patient", "s1: resolved: by m5",
          "1 candidates", "drover approve p4"})
        EXPECT_TRUE(has(text, part)) << part << "\n" << text;
    EXPECT_TRUE(has(show_plan(Json::object(), {}), "no moves"));
}

TEST(FleetViews, ColoursChangeNothingElse)
{
    const FleetPicture all = picture(3, 4);
    for (const unsigned width : {0U, 40U, 80U, 200U}) {
        const FleetView plain{.width = width, .now = 2000};
        FleetView coloured = plain;
        coloured.colour = true;
        const std::string text = draw_top(all, coloured, "q quits");
        EXPECT_TRUE(has(text, "\033[31m"));
        EXPECT_EQ(bare(text), draw_top(all, plain, "q quits"));
        EXPECT_EQ(bare(show_vms(all.vms, coloured)), show_vms(all.vms, plain));
    }
}

TEST(FleetTop, ShowsAllParts)
{
    const std::string text = draw_top(picture(2, 3), {.now = 1012}, "");
    for (const char* part :
         {"mode recommend", "2 hosts", "1 hotspot,", "host0", "host1", "90 %", "vm0", "vm2",
          "s1: host1: cpu, since 12.0 s, 92 % sure: vm3 burns 4 cores",
          "m5: vm3 from host1 to host0, proposed: host1 cools", "m4: vm9 from host0 to host1",
          "75 %", "1.0 GB left", "active"})
        EXPECT_TRUE(has(text, part)) << part << "\n" << text;
    EXPECT_LT(text.find("host1 "), text.find("host0 ")) << "the hot one is first";
}

TEST(FleetTop, StaysWithinAnyTerminal)
{
    FleetPicture all = picture(30, 200);
    all.hosts.push_back(host(std::string(300, 'x')));
    all.hosts.push_back({{"name", "down"}, {"state", "maintenance"}, {"load", busy_load}});
    all.vms.push_back(vm(std::string(64, 'y')));
    all.hotspots[0]["cause"] = std::string(500, 'z');
    for (unsigned width = 1; width < 180; width += 7) {
        for (unsigned height = 1; height < 60; height += 7) {
            const auto lines =
                lines_of(draw_top(all, {.width = width, .height = height}, "q quits"));
            EXPECT_LE(lines.size(), height) << width;
            for (const std::string& line : lines)
                EXPECT_LE(columns_of(line), width) << line;
        }
    }
    const std::string text = draw_top(all, {.width = 80, .height = 40}, "q quits");
    for (const char* part : {"HOSTS", "VMS", "HOTSPOTS", "PLAN", "MIGRATIONS", "more", "q quits"})
        EXPECT_TRUE(has(text, part)) << part << "\n" << text;
}

TEST(FleetTop, SurvivesAnyAnswer)
{
    const Json odd[] = {nullptr,
                        true,
                        -1,
                        "x",
                        Json::array(),
                        Json::object(),
                        {1, "a", nullptr},
                        {{"name", 7}},
                        Json::parse(R"([{"name": "\u001b[2J",
        "load": {"cores": 0, "cpu-busy": -3, "nics": [1, {"capacity": "x"}]}, "hotspots": [1],
        "state": {"a": 1}, "since": 1e300, "total": -1, "moves": [null]}])")};
    for (const Json& one : odd) {
        const FleetPicture all{one, one, one, one, one, one};
        const std::string text = draw_top(all, {.width = 80, .height = 24, .now = 1}, "");
        EXPECT_FALSE(has(text, "\033")) << one;
        for (const std::string& shown :
             {show_hosts(one, {}), show_vms(one, {}), show_plan(one, {}), show_history(one, {})})
            EXPECT_FALSE(has(shown, "\033")) << one;
    }
}

TEST(FleetViews, HistoryIsATable)
{
    const Json history = Json::array({{{"time", 0},
                                       {"what", "done"},
                                       {"id", "m1"},
                                       {"vm", "v"},
                                       {"from", "a"},
                                       {"to", "b"},
                                       {"text", "for s1"}}});
    const std::string text = show_history(history, {});
    EXPECT_TRUE(has(text, "19") && has(text, "m1") && has(text, "for s1")) << text;
    EXPECT_EQ(show_history(Json::array(), {}), "nothing has happened yet\n");
}

} // namespace
} // namespace drover::tools
