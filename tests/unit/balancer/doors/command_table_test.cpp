// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/command_table.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace drover::balancer {
namespace {

class CommandTableTest : public ::testing::Test {
protected:
    CommandTableTest()
    {
        table.add("all", Role::Operate,
                  {{"s", "str"},
                   {"i?", "int"},
                   {"n?", "number"},
                   {"b?", "bool"},
                   {"o?", "object"},
                   {"l?", "list"},
                   {"a?", "any"}},
                  [this](const Json& arguments, const Client&, const QmpResponder& respond) {
                      ++calls;
                      respond(QmpResponse::ok(arguments));
                  });
    }

    Json ask(const std::string& command, Json arguments = Json::object(),
             Role role = Role::Administer)
    {
        Json answer;
        QmpRequest request;
        request.command = command;
        request.arguments = std::move(arguments);
        table.handle(std::move(request), {1, role, "otto"}, [&](QmpResponse response) {
            EXPECT_TRUE(answer.is_null()) << "answered twice";
            answer = std::move(response.body);
        });
        return answer;
    }

    std::string error(const std::string& command, Json arguments = Json::object(),
                      Role role = Role::Administer)
    {
        const Json answer = ask(command, std::move(arguments), role);
        return answer.contains("error") ? json_string(answer["error"], "desc") : answer.dump();
    }

    CommandTable table{Json{{"package", "p"}}};
    int calls = 0;
};

TEST_F(CommandTableTest, PassesGoodArgumentsOn)
{
    const Json arguments = {{"s", ""},         {"i", -3},  {"n", 0.5},    {"b", true},
                            {"o", {{"x", 1}}}, {"l", {1}}, {"a", nullptr}};
    EXPECT_EQ(ask("all", arguments)["return"], arguments);
    EXPECT_EQ(ask("all", {{"s", "x"}, {"n", 7}})["return"], Json({{"s", "x"}, {"n", 7}}));
    EXPECT_EQ(calls, 2);
}

TEST_F(CommandTableTest, RefusesWrongArgumentsInWords)
{
    EXPECT_EQ(error("all"), "Parameter 's' is missing");
    const std::pair<Json, const char*> wrong[] = {
        {{{"s", 1}}, "Invalid parameter type for 's', expected: string"},
        {{{"s", nullptr}}, "Invalid parameter type for 's', expected: string"},
        {{{"s", ""}, {"i", 1.0}}, "Invalid parameter type for 'i', expected: integer"},
        {{{"s", ""}, {"i", UINT64_MAX}}, "Invalid parameter type for 'i', expected: integer"},
        {{{"s", ""}, {"i", nullptr}}, "Invalid parameter type for 'i', expected: integer"},
        {{{"s", ""}, {"n", std::numeric_limits<double>::infinity()}},
         "Invalid parameter type for 'n', expected: number"},
        {{{"s", ""}, {"b", 0}}, "Invalid parameter type for 'b', expected: boolean"},
        {{{"s", ""}, {"o", Json::array()}}, "Invalid parameter type for 'o', expected: object"},
        {{{"s", ""}, {"l", Json::object()}}, "Invalid parameter type for 'l', expected: array"},
        {{{"s", ""}, {"x", 1}}, "Parameter 'x' is unexpected"},
        {{{"s", ""}, {"i?", 1}}, "Parameter 'i?' is unexpected"}};
    for (const auto& [arguments, words] : wrong)
        EXPECT_EQ(error("all", arguments), words);
    EXPECT_EQ(calls, 0);
}

TEST_F(CommandTableTest, RefusesTooLowARoleBeforeItLooksAtArguments)
{
    EXPECT_EQ(error("all", {{"x", 1}}, Role::Observe),
              "all takes the role 'operate', and otto has 'observe'");
    EXPECT_NE(error("query-version", Json::object(), Role::None).find("names no role"),
              std::string::npos);
    EXPECT_EQ(calls, 0);
    EXPECT_EQ(ask("all", {{"s", ""}}, Role::Operate)["return"], Json({{"s", ""}}));
    EXPECT_EQ(calls, 1);
}

TEST_F(CommandTableTest, KnowsItsCommands)
{
    EXPECT_EQ(ask("nope")["error"], Json({{"class", "CommandNotFound"},
                                          {"desc", "The command nope has not been found"}}));
    EXPECT_EQ(ask("quit")["error"]["class"], "CommandNotFound");
    EXPECT_EQ(ask("query-version", Json::object(), Role::Observe)["return"],
              Json({{"package", "p"}}));
    EXPECT_EQ(ask("query-commands", Json::object(), Role::Observe)["return"],
              Json::parse(R"([{"name":"all","role":"operate"},
                              {"name":"query-commands","role":"observe"},
                              {"name":"query-version","role":"observe"}])"));
}

TEST_F(CommandTableTest, AnExceptionIsAnAnswer)
{
    table.add("bad", Role::Observe, {}, [](const Json& arguments, const Client&, const auto&) {
        (void)arguments.at("nothing").get<int>();
    });
    EXPECT_NE(error("bad").find("internal error"), std::string::npos);
    table.add("late", Role::Observe, {}, [](const Json&, const Client&, const auto& respond) {
        respond(QmpResponse::ok());
        throw std::runtime_error("too late");
    });
    EXPECT_TRUE(ask("late").contains("return")); // and no second answer
}

TEST_F(CommandTableTest, GreetsWithTheVersion)
{
    const Json greeting = make_greeting("droverd");
    EXPECT_EQ(greeting["version"]["package"], "droverd " DROVER_VERSION);
    EXPECT_TRUE(greeting["version"]["qemu"]["minor"].is_number());
    EXPECT_TRUE(greeting["capabilities"].is_array());
}

} // namespace
} // namespace drover::balancer
