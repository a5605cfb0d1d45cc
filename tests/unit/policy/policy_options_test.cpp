// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/policy.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(PolicyOptions, AreRead)
{
    struct Case {
        const char* text;
        MigrationWish wish;
    };
    const Case cases[] = {
        {"", {0.3, {}}},
        {"downtime=50ms", {0.05, {}}},
        {"downtime=1ms", {0.001, {}}},
        {"downtime=2000s", {2000, {}}},
        {"downtime=0.25", {0.25, {}}},
        {"deadline=60", {0.3, 60}},
        {"deadline=1.5m", {0.3, 90}},
        {"deadline=2min", {0.3, 120}},
        {"deadline=168h", {0.3, 604800}},
        {"downtime=50ms,deadline=60s", {0.05, 60}},
        {"deadline=60s,downtime=50ms", {0.05, 60}},
        {"downtime=1s,downtime=2s", {2, {}}}, // as in QEMU the last one counts
    };
    for (const Case& c : cases) {
        const auto wish = parse_policy(c.text);
        ASSERT_TRUE(wish) << c.text << ": " << wish.error().text();
        EXPECT_EQ(*wish, c.wish) << c.text;
    }
}

TEST(PolicyOptions, LeaveWhatTheyDoNotName)
{
    const auto wish = parse_policy("deadline=9s", {0.02, 5});
    ASSERT_TRUE(wish);
    EXPECT_EQ(*wish, (MigrationWish{0.02, 9}));
}

TEST(PolicyOptions, AreRefusedWithWhatIsAllowed)
{
    struct Case {
        const char* text;
        const char* words;
    };
    const Case cases[] = {
        {"downtime=0", "from 1ms to 2000s"},
        {"downtime=0.9ms", "from 1ms to 2000s"},
        {"downtime=2001s", "from 1ms to 2000s"},
        {"downtime=-5ms", "from 1ms to 2000s"},
        {"downtime=", "from 1ms to 2000s"},
        {"downtime", "from 1ms to 2000s"},
        {"downtime=fast", "from 1ms to 2000s"},
        {"downtime=5ms ", "from 1ms to 2000s"},
        {"downtime=5 ms", "from 1ms to 2000s"},
        {"downtime=nan", "from 1ms to 2000s"},
        {"downtime=inf", "from 1ms to 2000s"},
        {"downtime=1e999", "from 1ms to 2000s"},
        {"deadline=0.5s", "from 1s to 168h"},
        {"deadline=169h", "from 1s to 168h"},
        {"deadline=nan", "from 1s to 168h"},
        {"speed=9", "no 'speed'"},
        {"Downtime=50ms", "no 'Downtime'"},
        {",", "no ''"},
        {"downtime=50ms,,", "no ''"},
        {"downtime=100s,deadline=50s", "deadline is shorter"},
    };
    for (const Case& c : cases) {
        const auto wish = parse_policy(c.text);
        ASSERT_FALSE(wish) << c.text;
        EXPECT_EQ(wish.error().kind, ErrorKind::Invalid) << c.text;
        EXPECT_NE(wish.error().text().find(c.words), std::string::npos)
            << c.text << ": " << wish.error().text();
        EXPECT_FALSE(wish.error().hint.empty()) << c.text;
    }
}

TEST(PolicyOptions, HelpNamesThemAll)
{
    for (const char* word : {"downtime=", "deadline=", "1ms to 2000s", "1s to 168h"})
        EXPECT_NE(policy_help().find(word), std::string_view::npos) << word;
}

} // namespace
} // namespace drover
