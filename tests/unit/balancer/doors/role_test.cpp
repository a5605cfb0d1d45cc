// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/address.h"
#include "contrib/balancer/doors/role.h"

#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

Role role_of(std::string_view subject)
{
    const auto identity = identity_of_subject(subject);
    return identity ? identity->role : Role::None;
}

TEST(Role, IsTheOrganizationalUnit)
{
    EXPECT_EQ(role_of("CN=anna,OU=administer"), Role::Administer);
    EXPECT_EQ(role_of("OU=operate,O=x,CN=b"), Role::Operate);
    EXPECT_EQ(role_of("ou=observe"), Role::Observe);
    EXPECT_EQ(role_of("CN=x+OU=operate,O=y"), Role::Operate);
    EXPECT_EQ(role_of("OU=ad\\6Dinister"), Role::Administer);
    EXPECT_EQ(identity_of_subject("CN=anna,OU=operate,CN=other")->name, "anna");
}

TEST(Role, NobodyElseHasOne)
{
    for (const char* subject :
         {"", "CN=x", "CN=administer", "O=administer", "OU=Administer", "OU=administer ",
          "OU=administer\\20", "OU=administers", "OU=none", "OU=", "DC=OU\\=administer",
          "CN=eve\\,OU=administer", "CN=eve\\2COU=administer", "CN=eve\\+OU=administer",
          "CN=\\\\\\,OU=administer", "OU=#0c0a61646d696e6973746572", "OU=x\\,OU=administer"})
        EXPECT_EQ(role_of(subject), Role::None) << subject;
    EXPECT_EQ(role_of("CN=\\\\,OU=administer"), Role::Administer) << "an escaped backslash";
}

TEST(Role, OfSeveralTheLowestCounts)
{
    EXPECT_EQ(role_of("OU=administer,OU=observe,CN=x"), Role::Observe);
    EXPECT_EQ(role_of("OU=operate,OU=administer"), Role::Operate);
    EXPECT_EQ(role_of("OU=sales,OU=administer,OU=none"), Role::Administer)
        << "other units mean nothing";
}

TEST(Role, NothingIsBelievedOfABrokenName)
{
    for (const char* subject :
         {"OU=administer,", "OU=administer,x", "=administer", "OU=administer,CN=a\\",
          "OU=administer,CN=a\\z", "OU=administer,CN=a\\1", "OU=administer,CN=\"a",
          "OU=administer,CN=a;b", " OU=administer", ",OU=administer", "OU=administer,C N=x"})
        EXPECT_FALSE(identity_of_subject(subject)) << subject;
    EXPECT_FALSE(identity_of_subject(std::string_view("OU=administer,CN=a\0b", 20)));
}

TEST(Role, IncludesThoseBefore)
{
    EXPECT_LT(Role::None, Role::Observe);
    EXPECT_LT(Role::Observe, Role::Operate);
    EXPECT_LT(Role::Operate, Role::Administer);
    for (const Role role : {Role::Observe, Role::Operate, Role::Administer})
        EXPECT_EQ(parse_role(to_string(role)), role);
    EXPECT_FALSE(parse_role("none"));
}

TEST(DoorAddress, IsReadAndWritten)
{
    for (const char* text : {"unix:/run/drover/balancer.sock", "unix:relative", "tls:node1:9700",
                             "tls:[::1]:9700", "tls::9700", "tls:192.0.2.1:0"}) {
        const auto address = parse_door_address(text);
        ASSERT_TRUE(address) << text;
        EXPECT_EQ(address->text(), text);
    }
    EXPECT_EQ(parse_door_address("tls:[::1]:9700")->host, "::1");
    for (const char* text :
         {"", "unix:", "tls:", "tls:node1", "tls:node1:", "tls:node1:x", "tls:node1:65536",
          "tls:::1:9700", "tcp:node1:1", "/run/x", "tls:a/b:1", "tls:node1:1x", "tls:node1:-1"})
        EXPECT_FALSE(parse_door_address(text)) << text;
    EXPECT_FALSE(parse_door_address("unix:" + std::string(108, 'x')));
}

} // namespace
} // namespace drover::balancer
