// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/human_commands.h"
#include "system/migrate_settings.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace drover {
namespace {

class MigrateSettingsTest : public testing::Test {
protected:
    MigrateSettingsTest()
    {
        settings.learn_capabilities(Json::parse(
            R"([{"capability":"xbzrle","state":false},{"capability":"events","state":false},
                {"capability":"mapped-ram","state":false}])"));
        settings.learn_parameters(Json::parse(
            R"({"max-bandwidth":134217728,"downtime-limit":300,"multifd-channels":2,
                "tls-creds":""})"));
    }

    MigrateSettings settings{MigrationWish{}};
};

Json capability(const char* name, bool on)
{
    return Json{{"capability", name}, {"state", on}};
}

Json capabilities(Json list)
{
    return Json{{"capabilities", std::move(list)}};
}

TEST_F(MigrateSettingsTest, QemuIsAskedAndSetBack)
{
    const Json asked = capabilities({capability("events", true), capability("xbzrle", true)});
    auto trial = settings.capability_trial(asked);
    EXPECT_EQ(trial.set, capabilities({capability("xbzrle", true)}));
    EXPECT_EQ(trial.undo,
              capabilities({capability("xbzrle", false), capability("mapped-ram", false)}));
    settings.set_capabilities(asked);
    EXPECT_EQ(settings.capabilities(), Json({capability("xbzrle", true), capability("events", true),
                                             capability("mapped-ram", false)}));
    // What was set before goes with it, and what is no capability goes as it is.
    trial =
        settings.capability_trial(Json::parse(R"({"capabilities":[3,{"capability":"events"}]})"));
    EXPECT_EQ(trial.set["capabilities"],
              Json::parse(R"([{"capability":"xbzrle","state":true},3,{"capability":"events"}])"));
    EXPECT_EQ(settings.capability_trial(Json::parse(R"({"x":1})")).set, Json::parse(R"({"x":1})"));
    EXPECT_TRUE(settings.check_capabilities());
    settings.set_capabilities(capabilities({capability("mapped-ram", true)}));
    EXPECT_FALSE(settings.check_capabilities());
}

TEST_F(MigrateSettingsTest, WhatQemuHasForFewerBytesBounds)
{
    using stream::PageEncoding;
    const auto set = [&](const char* text) {
        settings.set_parameters(Json::parse(text));
        return settings.encodings();
    };
    EXPECT_EQ(settings.encodings().allowed, stream::all_encodings) << "nobody asked for less";
    EXPECT_EQ(set(R"({"max-bandwidth":7})").allowed, stream::all_encodings);
    EncodingBounds bounds = set(R"({"multifd-compression":"none"})");
    EXPECT_FALSE(bounds.allowed.has(PageEncoding::Lz4));
    EXPECT_FALSE(bounds.allowed.has(PageEncoding::Zstd));
    EXPECT_TRUE(bounds.allowed.has(PageEncoding::Delta));
    bounds = set(R"({"multifd-compression":"zstd","multifd-zstd-level":3,"multifd-zlib-level":9})");
    EXPECT_EQ(bounds.allowed, stream::all_encodings);
    EXPECT_EQ(bounds.most_zstd_level, 3);
    EXPECT_EQ(set(R"({"multifd-compression":"zlib"})").most_zstd_level, 9);
    EXPECT_EQ(set(R"({"multifd-zlib-level":0})").most_zstd_level, 1);
    EXPECT_EQ(bounds.delta_bytes, 64U << 20);
    EXPECT_EQ(set(R"({"xbzrle-cache-size":4096})").delta_bytes, 4096U);
}

/// libvirt does, after each job.
TEST_F(MigrateSettingsTest, WhoSetsAllBackToWhatHeFoundWishesNothing)
{
    settings.learn_parameters(Json::parse(
        R"({"multifd-compression":"none","multifd-zlib-level":1,"multifd-zstd-level":1,
            "xbzrle-cache-size":67108864})"));
    const Json found = settings.parameters();
    settings.set_parameters(
        Json::parse(R"({"multifd-compression":"none","xbzrle-cache-size":4096})"));
    EXPECT_FALSE(settings.encodings().allowed.has(stream::PageEncoding::Zstd)) << "a wish";
    settings.set_parameters(found);
    EXPECT_EQ(settings.encodings().allowed, stream::all_encodings);
    EXPECT_EQ(settings.encodings().delta_bytes, 64U << 20);
    settings.set_parameters(Json::parse(R"({"multifd-compression":"none"})"));
    EXPECT_FALSE(settings.encodings().allowed.has(stream::PageEncoding::Zstd)) << "again";
}

TEST_F(MigrateSettingsTest, APostcopysBoundIsTheCopysUntilItIsSet)
{
    settings.set_parameters(Json::parse(R"({"max-bandwidth":7})"));
    EXPECT_EQ(settings.max_postcopy_bandwidth(), 7U);
    settings.set_parameters(Json::parse(R"({"max-postcopy-bandwidth":0})"));
    EXPECT_EQ(settings.max_postcopy_bandwidth(), 0U);
    EXPECT_EQ(settings.max_bandwidth(), 7U);
}

TEST_F(MigrateSettingsTest, WhatIsTheEnginesDoesNotReachQemu)
{
    const Json asked = Json::parse(
        R"({"max-bandwidth":7,"downtime-limit":0,"multifd-channels":255,"tls-creds":"t"})");
    const auto for_qemu = settings.check_parameters(asked);
    ASSERT_TRUE(for_qemu);
    EXPECT_EQ(*for_qemu, Json::parse(R"({"multifd-channels":255})"));
    settings.set_parameters(asked);
    EXPECT_EQ(settings.tls().creds, "t");
    EXPECT_EQ(settings.engine_parameters(), Json::parse(R"({"tls-creds":""})"));
    EXPECT_EQ(settings.channels(), 64U);
    EXPECT_EQ(settings.native_parameters(),
              Json::parse(R"({"max-bandwidth":7,"downtime-limit":0,"tls-creds":"t"})"));
    settings.set_parameters(Json::parse(R"({"tls-creds":null})"));
    EXPECT_EQ(settings.parameters()["tls-creds"], "");
    EXPECT_TRUE(settings.engine_parameters().empty());
    for (const char* wrong :
         {R"({"max-bandwidth":"7"})", R"({"max-bandwidth":-1})", R"({"downtime-limit":2000001})",
          R"({"downtime-limit":1.5})", R"({"tls-creds":7})", R"({"mode":"cpr-reboot"})",
          R"({"avail-switchover-bandwidth":1})"})
        EXPECT_FALSE(settings.check_parameters(Json::parse(wrong))) << wrong;
}

TEST_F(MigrateSettingsTest, QemusOwnMigrationHasTheUsersSettings)
{
    EXPECT_EQ(settings.native_parameters(),
              Json::parse(R"({"max-bandwidth":134217728,"downtime-limit":300,"tls-creds":""})"));
    settings.set_capabilities(capabilities({capability("xbzrle", true)}));
    EXPECT_EQ(settings.native_capabilities(),
              capabilities({capability("xbzrle", true), capability("events", true)}));
    EXPECT_EQ(settings.engine_capabilities()["capabilities"].size(), 3U);
}

/// As in QEMU: a guest that does not converge is not paused for longer than was permitted.
TEST_F(MigrateSettingsTest, ADowntimeLimitThatWasSetIsABound)
{
    const auto may_switch = [&] {
        const auto actions = settings.wish().on_stall;
        return std::ranges::find(actions, StallAction::Switch) != actions.end();
    };
    EXPECT_TRUE(may_switch()) << "nobody has set one";
    settings.set_parameters(Json::parse(R"({"downtime-limit":500})"));
    EXPECT_EQ(settings.wish().downtime_s, 0.5);
    EXPECT_FALSE(may_switch());
    ASSERT_TRUE(settings.set_policy(Json::parse(R"({"on-stall":["wait","switch"]})")));
    EXPECT_TRUE(may_switch()) << "who says so means it";
}

TEST_F(MigrateSettingsTest, AutoConvergeHasTheStepsThatWereSet)
{
    settings.learn_capabilities(Json::parse(R"([{"capability":"auto-converge","state":false}])"));
    settings.set_capabilities(capabilities({capability("auto-converge", true)}));
    EXPECT_FALSE(settings.wish().first_slowdown) << "QEMU's default: nobody asked for it";
    settings.set_parameters(Json::parse(
        R"({"cpu-throttle-initial":5,"cpu-throttle-increment":25,"max-cpu-throttle":95})"));
    EXPECT_EQ(settings.wish().max_slowdown, 0.95);
    EXPECT_EQ(settings.wish().first_slowdown, 0.05);
    EXPECT_EQ(settings.wish().slowdown_increment, 0.25);
    ASSERT_TRUE(settings.set_policy(Json::parse(R"({"max-slowdown":"50"})")));
    EXPECT_FALSE(settings.wish().first_slowdown) << "the policy's own slow-down has no steps";
}

TEST(HumanCommands, AreQmpCommands)
{
    const Json parameters = Json::parse(
        R"({"downtime-limit":300,"max-bandwidth":0,"xbzrle-cache-size":1,"tls-hostname":"",
            "cpu-throttle-tailslow":false})");
    const auto qmp = [&](const char* line) {
        const auto human = read_human_command(line, parameters);
        if (!human)
            return std::string("QEMU");
        return human->refusal + human->command + dump_json(human->arguments);
    };
    EXPECT_EQ(qmp("info status"), "QEMU");
    EXPECT_EQ(qmp("device_add x"), "QEMU");
    EXPECT_EQ(qmp(""), "QEMU");
    EXPECT_EQ(qmp(" \tc/x"), "cont{}");
    EXPECT_EQ(qmp("info migrate"), "query-migrate{}");
    EXPECT_EQ(qmp("migrate -d tcp:h:1"), R"(migrate{"detach":true,"uri":"tcp:h:1"})");
    EXPECT_EQ(qmp("migrate_set_parameter max-bandwidth 5"),
              R"(migrate-set-parameters{"max-bandwidth":5242880})");
    EXPECT_EQ(qmp("migrate_set_parameter xbzrle-cache-size 64k"),
              R"(migrate-set-parameters{"xbzrle-cache-size":65536})");
    EXPECT_EQ(qmp("migrate_set_parameter cpu-throttle-tailslow on"),
              R"(migrate-set-parameters{"cpu-throttle-tailslow":true})");
    EXPECT_EQ(qmp("migrate_set_parameter downtime-limit x"),
              R"(migrate-set-parameters{"downtime-limit":"x"})");
    EXPECT_EQ(qmp("migrate_continue pre-switchover"),
              R"(migrate-continue{"state":"pre-switchover"})");
    EXPECT_TRUE(qmp("migrate_set_capability xbzrle").starts_with("Error: "));
    EXPECT_TRUE(qmp("migrate_to_mars").starts_with("Error: "));
    EXPECT_EQ(human_answer("cont", Json::parse(R"({"return":{}})")), "");
    EXPECT_EQ(human_answer("cont", Json::parse(R"({"error":{"desc":"no"}})")), "Error: no\r\n");
    EXPECT_EQ(
        human_answer("query-migrate", Json::parse(R"({"return":{"ram":{"total":1},"drover":{}}})")),
        "ram total: 1\r\n");
}

} // namespace
} // namespace drover
