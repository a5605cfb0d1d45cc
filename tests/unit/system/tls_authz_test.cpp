// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/tls_authz.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace drover {

namespace {

bool lets_in(const char* object, const std::string& name)
{
    const auto authorize = make_authorization(Json::parse(object));
    EXPECT_TRUE(authorize) << object;
    return authorize && (*authorize)(name).has_value();
}

} // namespace

TEST(TlsAuthz, OneNameExactly)
{
    const char* simple = R"({"type":"authz-simple","identity":"CN=a,O=x"})";
    EXPECT_TRUE(lets_in(simple, "CN=a,O=x"));
    EXPECT_FALSE(lets_in(simple, "CN=a"));
    EXPECT_FALSE(lets_in(R"({"type":"authz-simple"})", "CN=a"));
}

TEST(TlsAuthz, TheFirstRuleThatFitsDecides)
{
    const char* list = R"({"type":"authz-list","policy":"deny","rules":[
        {"match":"CN=bad","policy":"deny","format":"exact"},
        {"match":"CN=*","policy":"allow","format":"glob"}]})";
    EXPECT_FALSE(lets_in(list, "CN=bad"));
    EXPECT_TRUE(lets_in(list, "CN=good"));
    EXPECT_FALSE(lets_in(list, "O=x,CN=good"));
    EXPECT_TRUE(lets_in(R"({"type":"authz-list","policy":"allow","rules":[]})", "CN=x"));
}

TEST(TlsAuthz, WhatIsNotUnderstoodLetsNobodyIn)
{
    for (const char* list : {R"({"type":"authz-list"})", R"({"type":"authz-list","rules":[]})",
                             R"({"type":"authz-list","policy":"maybe"})",
                             R"({"type":"authz-list","policy":"deny","rules":[{"match":"CN=x"}]})",
                             R"({"type":"authz-list","policy":"deny","rules":[7]})",
                             R"({"type":"authz-list-file","filename":"/none"})"})
        EXPECT_FALSE(lets_in(list, "CN=x")) << list;
    EXPECT_FALSE(make_authorization(Json::parse(R"({"type":"authz-pam","service":"x"})")));
}

TEST(TlsAuthz, AFileIsReadForEachPeerAnew)
{
    const std::string file = ::testing::TempDir() + "drover-authz.json";
    const Json object{{"type", "authz-list-file"}, {"filename", file}};
    const auto authorize = make_authorization(object);
    ASSERT_TRUE(authorize);
    std::ofstream(file) << R"({"policy":"allow"})";
    EXPECT_TRUE((*authorize)("CN=x"));
    std::ofstream(file) << R"({"policy":"deny"})";
    EXPECT_FALSE((*authorize)("CN=x"));
    std::ofstream(file) << "nonsense";
    EXPECT_FALSE((*authorize)("CN=x"));
    std::filesystem::remove(file);
}

} // namespace drover
