// SPDX-License-Identifier: GPL-2.0-or-later
// Our client, and the merging of introspection, against the real QEMU.
#include "monitor/qmp_schema.h"
#include "tests/unit/monitor/qemu_testing.h"

#include <map>
#include <set>
#include <unistd.h>

namespace drover::testing {
namespace {

class QmpQemuTest : public QemuTest {};

TEST_F(QmpQemuTest, NegotiatesAndExecutes)
{
    EXPECT_TRUE(greeting["version"]["qemu"]["major"].is_number()) << greeting;
    EXPECT_EQ(execute("query-version"), greeting["version"]);
    EXPECT_EQ(execute("nope")["failed"], "The command nope has not been found");
}

TEST_F(QmpQemuTest, PassesDescriptors)
{
    std::vector<UniqueFd> fds;
    fds.emplace_back(dup(STDERR_FILENO));
    EXPECT_EQ(execute("getfd", {{"fdname", "x"}}, std::move(fds)), Json::object());
    EXPECT_EQ(execute("closefd", {{"fdname", "x"}}), Json::object());
    EXPECT_EQ(execute("getfd", {{"fdname", "y"}})["failed"],
              "No file descriptor supplied via SCM_RIGHTS");
}

TEST_F(QmpQemuTest, ForwardsOutOfBand)
{
    Json answer;
    client->forward(Json::parse(R"({"exec-oob":"query-version"})"),
                    [&](Json response) { answer = std::move(response); });
    ASSERT_TRUE(run_until([&] { return !answer.is_null(); }));
    EXPECT_EQ(answer["error"]["desc"], "The command query-version does not support OOB");
}

TEST_F(QmpQemuTest, EventAndEndOfQuit)
{
    EXPECT_EQ(execute("quit"), Json::object());
    ASSERT_TRUE(run_until([&] { return closed; }));
    ASSERT_FALSE(events.empty());
    EXPECT_EQ(events.back()["event"], "SHUTDOWN");
    EXPECT_EQ(execute("query-version")["failed"], "the QMP peer closed the connection");
}

TEST_F(QmpQemuTest, MergesCommandsOnceEach)
{
    const Json merged = merge_commands(execute("query-commands"), {"query-drover", "migrate"});
    std::multiset<std::string> names;
    for (const Json& entry : merged)
        names.insert(json_string(entry, "name"));
    EXPECT_EQ(names.count("query-drover"), 1U);
    EXPECT_EQ(names.count("migrate"), 1U);
    EXPECT_EQ(names.count("query-status"), 1U);
}

using Entities = std::map<std::string, Json>;

/// By name, checking that each comes once.
Entities index(const Json& schema)
{
    Entities entities;
    for (const Json& entity : schema)
        EXPECT_TRUE(entities.emplace(json_string(entity, "name"), entity).second)
            << entity["name"] << " comes twice";
    return entities;
}

TEST_F(QmpQemuTest, MergesTheSchema)
{
    const Json original = execute("query-qmp-schema");
    const Json schema = merge_schema(
        original, {{"drover-forecast", {{"uri", "str"}, {"limit?", "number"}, {"deep?", "bool"}}},
                   {"migrate", {{"x", "str"}}},
                   {"query-drover", {}}});
    Entities entities = index(schema);

    // What is QEMU's stays as it was, but for the object that query-migrate returns.
    const std::string info = entities["query-migrate"]["ret-type"];
    for (const Json& entity : original) {
        if (entity["name"] != info) {
            EXPECT_EQ(entities[entity["name"]], entity);
        }
    }
    Json members = entities[info]["members"];
    EXPECT_EQ(members.back(), Json::parse(R"({"name":"drover","type":"any","default":null})"));
    members.erase(members.size() - 1);
    EXPECT_EQ(members, index(original)[info]["members"]);

    const Json command = entities["drover-forecast"];
    EXPECT_EQ(command["meta-type"], "command");
    EXPECT_EQ(entities[command["arg-type"]]["members"], Json::parse(R"([
        {"name":"uri","type":"str"},
        {"name":"limit","type":"number","default":null},
        {"name":"deep","type":"bool","default":null}])"));
    EXPECT_EQ(entities[entities["query-drover"]["arg-type"]]["members"], Json::array());
    for (const char* type : {"str", "int", "number", "bool", "any"})
        EXPECT_EQ(entities[type]["meta-type"], "builtin") << type;
}

TEST(QmpSchema, StrangeInputIsHarmless)
{
    EXPECT_EQ(merge_commands(Json(5), {"a"}), Json::parse(R"([{"name":"a"}])"));
    const Json odd = Json::parse(R"([{"name":3},{"name":"query-migrate","ret-type":"0"},
                                     {"name":"0","members":7}])");
    EXPECT_EQ(merge_schema(odd, {})[2], odd[2]);
    EXPECT_TRUE(merge_schema(Json::parse("[1]"), {}).is_array());
    EXPECT_TRUE(merge_schema(Json(), {{"own", {}}}).is_array());
}

} // namespace
} // namespace drover::testing
