// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/balancer/cluster/balancer_testing.h"

namespace drover::balancer::cluster::testing {
namespace {

TEST_F(BalancerTest, shows_what_the_hosts_tell)
{
    const Json hosts = balancer_->query_hosts();
    ASSERT_EQ(hosts.size(), 3U);
    EXPECT_EQ(hosts[0]["state"], "up");
    EXPECT_EQ(hosts[0]["vms"], 2);
    EXPECT_EQ(hosts[0]["load"]["cores"], 4);
    const Json vms = balancer_->query_vms();
    ASSERT_EQ(vms.size(), 2U);
    EXPECT_EQ(vms[1]["name"], "web");
    EXPECT_EQ(vms[1]["host"], "a");
    EXPECT_EQ(vms[1]["load"]["cpu"], 0.5);
    fleet_.kill_daemon("a", 5);
    live(1);
    EXPECT_EQ(balancer_->query_hosts()[0]["state"], "unreachable");
    EXPECT_EQ(balancer_->query_vms().size(), 2U); // they are where they were, as far as is known
    live(10);
    EXPECT_EQ(balancer_->query_hosts()[0]["state"], "up");
}

TEST_F(BalancerTest, recommends_and_waits_for_approval)
{
    judge_.next.moves = {move("web", "a", "b")};
    live(5);
    EXPECT_EQ(under_way(), 0U);
    const std::string id = plan_id();
    EXPECT_EQ(count_events("PLAN"), 1); // the same moves are the same plan
    live(20);
    EXPECT_EQ(plan_id(), id);
    const auto approved = balancer_->approve(id, "me");
    ASSERT_TRUE(approved) << approved.error().text();
    EXPECT_EQ((*approved)["migrations"].size(), 1U);
    judge_.next = {};
    live(60);
    EXPECT_EQ(fleet_.host_of("web"), "b");
    EXPECT_EQ(under_way(), 0U);
    const auto history = balancer_->query_history(100, "web");
    ASSERT_TRUE(history);
    EXPECT_GE(history->size(), 4U);
    ASSERT_EQ(judge_.over.size(), 1U);
    EXPECT_EQ(judge_.over[0].outcome, "completed");
}

TEST_F(BalancerTest, bounds_what_a_migration_may_use)
{
    config_.mode = Mode::Automatic;
    for (HostConfig& host : config_.hosts) // the tighter of two ends counts
        host.limits.bandwidth = host.name == "b" ? 25e6 : 80e6;
    const std::pair<const char*, const char*> cases[] = {
        {"", "bandwidth=25000000"},
        {"downtime=50ms,bandwidth=0", "downtime=50ms,bandwidth=0,bandwidth=25000000"},
        {"bandwidth=10MB/s", "bandwidth=10MB/s"},
        {"bandwidth=1G", "bandwidth=1G,bandwidth=25000000"}};
    for (const auto& [own, asked] : cases) {
        fleet_.policy_asked.clear();
        start();
        judge_.next.moves = {move("web", fleet_.host_of("web"), "b")};
        judge_.next.moves[0].policy = own;
        if (fleet_.host_of("web") == "b")
            judge_.next.moves[0].to = "a";
        live(5);
        judge_.next = {};
        live(60);
        EXPECT_EQ(fleet_.policy_asked, asked);
    }
}

TEST_F(BalancerTest, refuses_to_approve_what_the_world_no_longer_wants)
{
    judge_.next.moves = {move("web", "a", "b")};
    live(2);
    const std::string id = plan_id();
    judge_.next.moves = {move("db", "a", "c")};
    const auto refused = balancer_->approve(id, "me");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("the world has changed"), std::string::npos);
    EXPECT_EQ(under_way(), 0U);
    EXPECT_FALSE(balancer_->approve("p-9-9", "me"));
    live(2);
    EXPECT_NE(plan_id(), id);
    judge_.next.moves = {move("web", "a", "b"), move("db", "a", "c")};
    EXPECT_TRUE(balancer_->approve(id, "me")); // it is wanted again, whatever the plan's name
}

TEST_F(BalancerTest, asks_the_guest_before_it_acts_by_itself)
{
    ASSERT_TRUE(balancer_->set_mode(Mode::Automatic, "me"));
    judge_.next.moves = {move("web", "a", "b")};
    balancer_->tick();
    live(0.9);
    EXPECT_EQ(fleet_.forecasts_asked, 1);
    EXPECT_TRUE(judge_.forecasts.contains("web"));
    judge_.next.moves = {move("db", "a", "c")}; // what it foretold changed the choice
    live(4);
    EXPECT_EQ(fleet_.forecasts_asked, 2);
    EXPECT_EQ(judge_.observed > 3, true);
    EXPECT_FALSE(journal_->latest_moves(10, "db")->empty());
    EXPECT_TRUE(journal_->latest_moves(10, "web")->empty());
}

TEST_F(BalancerTest, asks_for_the_forecast_of_the_move_that_is_meant)
{
    judge_.next.moves = {move("web", "a", "b")};
    judge_.next.moves[0].policy = "downtime=50ms";
    live(2); // a person who decides wants to know it, too
    EXPECT_EQ(fleet_.forecast_question,
              (Json{{"name", "web"}, {"bandwidth", 125'000'000}, {"policy", "downtime=50ms"}}));
    for (HostConfig& host : config_.hosts)
        host.limits.bandwidth = 25e6;
    config_.mode = Mode::Automatic;
    start();
    EXPECT_EQ(fleet_.forecast_question["bandwidth"], 25'000'000);
    EXPECT_EQ(fleet_.forecast_question["policy"], "downtime=50ms,bandwidth=25000000");
}

TEST_F(BalancerTest, tells_why_a_guest_foretells_nothing)
{
    fleet_.foretells = false;
    judge_.next.moves = {move("web", "a", "b")};
    live(3);
    const Json forecasts = balancer_->query_status()["forecasts"];
    EXPECT_EQ(forecasts["refused"], 1);
    EXPECT_EQ(forecasts["latest-refusal"],
              "web foretells nothing: the link's bandwidth is not known");
    EXPECT_NE(json_string(*balancer_->explain("web"), "text").find("bandwidth is not known"),
              std::string::npos);
}

TEST_F(BalancerTest, waits_for_no_forecast_where_a_host_suffers)
{
    fleet_.forecasts_hang = true;
    judge_.spots = {{"h-1", "a", "", "a swaps", {{"id", "h-1"}, {"kind", "host-swap"}}}};
    ASSERT_TRUE(balancer_->set_mode(Mode::Automatic, "me"));
    for (int i = 0; i < 4; ++i) { // each plan wants another guest's word
        judge_.next.moves = {move(i % 2 == 0 ? "web" : "db", "a", "b")};
        live(2);
    }
    EXPECT_FALSE(journal_->latest_moves(10, "")->empty());
}

TEST_F(BalancerTest, does_nothing_when_off_and_stays_off_over_a_restart)
{
    config_.mode = Mode::Automatic;
    start();
    ASSERT_TRUE(balancer_->set_mode(Mode::Off, "me"));
    judge_.next.moves = {move("web", "a", "b")};
    live(10);
    EXPECT_EQ(under_way(), 0U);
    EXPECT_TRUE(balancer_->query_plan()["moves"].empty());
    start();
    EXPECT_EQ(balancer_->mode(), Mode::Off);
    config_.mode = Mode::Recommend; // whoever edits the file means it
    start();
    EXPECT_EQ(balancer_->mode(), Mode::Recommend);
}

} // namespace
} // namespace drover::balancer::cluster::testing
