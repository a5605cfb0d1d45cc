// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/policy.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(PolicyOptions, AreRead)
{
    struct Case {
        const char* text;
        double downtime_s;
        std::optional<double> deadline_s;
    };
    const Case cases[] = {
        {"", 0.3, {}},
        {"downtime=50ms", 0.05, {}},
        {"downtime=1ms", 0.001, {}},
        {"downtime=2000s", 2000, {}},
        {"downtime=0.25", 0.25, {}},
        {"deadline=60", 0.3, 60},
        {"deadline=1.5m", 0.3, 90},
        {"deadline=2min", 0.3, 120},
        {"deadline=168h", 0.3, 604800},
        {"deadline=60s,deadline=none", 0.3, {}},
        {"downtime=50ms,deadline=60s", 0.05, 60},
        {"deadline=60s,downtime=50ms", 0.05, 60},
        {"downtime=1s,downtime=2s", 2, {}}, // as in QEMU the last one counts
    };
    for (const Case& c : cases) {
        MigrationWish expected;
        expected.downtime_s = c.downtime_s;
        expected.deadline_s = c.deadline_s;
        const auto wish = parse_policy(c.text);
        ASSERT_TRUE(wish) << c.text << ": " << wish.error().text();
        EXPECT_EQ(*wish, expected) << c.text;
    }
}

TEST(PolicyOptions, OfTheEngineAreRead)
{
    using enum StallAction;
    const auto wish = parse_policy(
        "max-slowdown=30%,bandwidth=125MB/s,cpu=1.5,reconnect=2m,on-stall=slow:postcopy:abort");
    ASSERT_TRUE(wish) << wish.error().text();
    EXPECT_DOUBLE_EQ(wish->max_slowdown, 0.3);
    EXPECT_EQ(wish->bandwidth, 125'000'000U);
    EXPECT_DOUBLE_EQ(wish->cpu, 1.5);
    EXPECT_EQ(wish->on_stall, (std::vector{Slow, Postcopy, Abort}));
    EXPECT_EQ(parse_policy("bandwidth=1G")->bandwidth, 1ULL << 30);
    EXPECT_DOUBLE_EQ(parse_policy("max-slowdown=99")->max_slowdown, 0.99);
}

TEST(PolicyOptions, PresetsReplaceWhatWasBefore)
{
    EXPECT_EQ(*parse_policy("downtime=9s,max-slowdown=7,preset=gentle"),
              *parse_policy("preset=gentle"));
    const auto urgent = parse_policy("preset=urgent,deadline=20s");
    ASSERT_TRUE(urgent);
    EXPECT_EQ(urgent->deadline_s, 20);
    EXPECT_DOUBLE_EQ(urgent->max_slowdown, 0.8);
    for (const char* name : {"gentle", "balanced", "urgent", "guaranteed"}) {
        EXPECT_TRUE(parse_policy(std::string("preset=") + name)) << name;
        EXPECT_NE(policy_help().find(name), std::string_view::npos) << name;
    }
}

TEST(PolicyOptions, LeaveWhatTheyDoNotName)
{
    MigrationWish defaults;
    defaults.downtime_s = 0.02;
    defaults.deadline_s = 5;
    defaults.max_slowdown = 0.1;
    const auto wish = parse_policy("deadline=9s", defaults);
    ASSERT_TRUE(wish);
    defaults.deadline_s = 9;
    EXPECT_EQ(*wish, defaults);
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
        {"max-slowdown=100", "from 0 to 99"},
        {"max-slowdown=-1", "from 0 to 99"},
        {"max-slowdown=ten", "from 0 to 99"},
        {"bandwidth=fast", "such as 125MB/s"},
        {"bandwidth=5Q", "such as 125MB/s"},
        {"cpu=2000", "a number of cores"},
        {"reconnect=25h", "up to 24h"},
        {"on-stall=", "on-stall=slow:postcopy"},
        {"on-stall=slow,wait", "no 'wait'"},
        {"on-stall=slow:pray", "no 'pray'"},
        {"preset=fast", "gentle, balanced, urgent and guaranteed"},
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
