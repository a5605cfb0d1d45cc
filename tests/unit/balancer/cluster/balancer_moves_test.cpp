// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the balancer does with migrations: its own, foreign ones, and those that nobody can be asked
// about.
#include "tests/unit/balancer/cluster/balancer_testing.h"

#include <fstream>

namespace drover::balancer::cluster::testing {
namespace {

TEST_F(BalancerTest, an_evacuation_needs_no_approval_and_outlives_a_restart)
{
    ASSERT_TRUE(balancer_->set_mode(Mode::Off, "me"));
    ASSERT_TRUE(balancer_->evacuate("a", false, "me"));
    EXPECT_FALSE(balancer_->evacuate("z", false, "me"));
    start();
    EXPECT_EQ(balancer_->query_hosts()[0]["state"], "maintenance");
    judge_.next.moves = {move("web", "a", "b"), move("db", "a", "c")};
    live(100);
    EXPECT_TRUE(fleet_.host_of("web") == "b" || fleet_.host_of("db") == "c");
    ASSERT_TRUE(balancer_->evacuate("a", true, "me"));
    EXPECT_EQ(balancer_->query_hosts()[0]["state"], "up");
}

TEST_F(BalancerTest, says_what_an_evacuation_waits_for)
{
    fleet_.run_states["db"] = "guest-panicked";
    live(2);
    judge_.choice = move("other", "a", "b"); // for web there is no room
    const auto ordered = balancer_->evacuate("a", false, "me");
    ASSERT_TRUE(ordered);
    EXPECT_TRUE((*ordered)["moves"].empty());
    const Json& remaining = (*ordered)["remaining"];
    ASSERT_EQ(remaining.size(), 2U);
    EXPECT_NE(json_string(remaining[0], "why").find("guest-panicked"), std::string::npos);
    EXPECT_NE(json_string(remaining[1], "why").find("there is no room for it"), std::string::npos);
    judge_.choice = move("db", "a", "b");
    const auto refused = balancer_->migrate("db", "b", "me");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("does not run any more"), std::string::npos);
    const auto text = balancer_->explain("a");
    EXPECT_NE(json_string(*text, "text").find("web is still there: there is no room"),
              std::string::npos)
        << json_string(*text, "text");
}

/// Its host would refuse to let it go: nothing is begun that could only fail.
TEST_F(BalancerTest, lets_a_guest_settle_that_has_just_come)
{
    fleet_.settling.insert("web");
    live(2);
    judge_.choice = move("web", "a", "b");
    const auto refused = balancer_->migrate("web", "b", "me");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("has just come"), std::string::npos)
        << refused.error().text();
    const auto explained = balancer_->explain("web");
    const std::string text = json_string(*explained, "text");
    EXPECT_NE(text.find("it cannot be moved: it has just come"), std::string::npos) << text;
    EXPECT_TRUE(journal_->latest_moves(10, "web")->empty());
    fleet_.settling.clear();
    live(2);
    EXPECT_TRUE(balancer_->migrate("web", "b", "me"));
}

TEST_F(BalancerTest, shows_what_is_shut_off)
{
    fleet_.run_states["db"] = "shut-off";
    live(2);
    const Json vms = balancer_->query_vms();
    ASSERT_EQ(vms.size(), 2U);
    EXPECT_EQ(vms[1]["name"], "db");
    EXPECT_EQ(vms[1]["state"], "shut-off");
    EXPECT_EQ(balancer_->query_hosts()[0]["vms"], 1);
    judge_.choice = move("db", "a", "b");
    EXPECT_FALSE(balancer_->migrate("db", "b", "me"));
}

TEST_F(BalancerTest, goes_on_with_a_migration_after_a_restart)
{
    judge_.choice = move("web", "a", "b");
    ASSERT_TRUE(balancer_->migrate("web", "b", "me"));
    live(0.3);
    ASSERT_EQ(under_way(), 1U);
    start();
    live(60);
    EXPECT_EQ(under_way(), 0U);
    const auto moves = journal_->latest_moves(10, "web");
    ASSERT_EQ(moves->size(), 1U); // not begun a second time
    EXPECT_EQ(moves->front().outcome == "completed", fleet_.host_of("web") == "b");
    EXPECT_EQ(fleet_.complaint_when_settled(), "");
}

TEST_F(BalancerTest, leaves_a_migration_that_it_does_not_know_to_come_to_its_end)
{
    fleet_.shortest_transfer = 400; // far longer than it was ever watched
    judge_.choice = move("web", "a", "b");
    const auto begun = balancer_->migrate("web", "b", "me");
    ASSERT_TRUE(begun);
    live(5);
    config_.mode = Mode::Off;
    start_without_journal();
    EXPECT_EQ(under_way(), 0U);
    EXPECT_EQ(balancer_->query_status()["foreign-migrations"], 1);
    live(300);
    EXPECT_EQ(balancer_->query_status()["foreign-migrations"], 1);
    const auto again = balancer_->migrate("web", "b", "me");
    ASSERT_FALSE(again);
    live(400);
    EXPECT_EQ(balancer_->query_status()["foreign-migrations"], 0);
    EXPECT_EQ(fleet_.complaint_when_settled(), "");
}

TEST_F(BalancerTest, cancels_what_it_does_not_know_when_an_operator_says_so)
{
    fleet_.shortest_transfer = 400;
    judge_.choice = move("web", "a", "b");
    const auto begun = balancer_->migrate("web", "b", "me");
    ASSERT_TRUE(begun);
    live(5);
    start_without_journal();
    ASSERT_TRUE(balancer_->cancel(json_string(*begun, "id"), "me"));
    EXPECT_FALSE(balancer_->cancel("m-none", "me"));
    live(20);
    EXPECT_EQ(fleet_.host_of("web"), "a");
    EXPECT_EQ(fleet_.complaint_when_settled(), "");
}

TEST_F(BalancerTest, keeps_its_identity_with_its_journal)
{
    const std::string before = owner();
    EXPECT_TRUE(before.starts_with("b-")) << before;
    start();
    EXPECT_EQ(owner(), before);
    start_without_journal();
    EXPECT_NE(owner(), before);
}

TEST_F(BalancerTest, begins_nothing_that_it_cannot_write_down)
{
    ASSERT_TRUE(journal_->limit_pages(1));
    judge_.spots = {{"h-1", "a", "", "hot", {{"id", "h-1"}, {"blob", std::string(50'000, 'x')}}}};
    live(1);
    judge_.choice = move("web", "a", "b");
    judge_.choice.why = std::string(50'000, 'x');
    const auto refused = balancer_->migrate("web", "b", "me");
    ASSERT_FALSE(refused);
    EXPECT_EQ(fleet_.host_of("web"), "a");
    EXPECT_EQ(balancer_->query_hotspots().size(), 1U); // it goes on looking
    EXPECT_TRUE(balancer_->query_status().contains("trouble"));
    ASSERT_TRUE(journal_->limit_pages(0));
    live(15);
    EXPECT_FALSE(balancer_->query_status().contains("trouble"));
    EXPECT_TRUE(balancer_->migrate("web", "b", "me"));
}

TEST_F(BalancerTest, leaves_a_vm_alone_that_two_hosts_claim)
{
    fleet_.claim("web", "c");
    live(3);
    judge_.choice = move("web", "a", "b");
    EXPECT_FALSE(balancer_->migrate("web", "b", "me"));
    judge_.choice = move("web", "c", "b");
    EXPECT_FALSE(balancer_->migrate("web", "b", "me"));
    const auto text = balancer_->explain("web");
    ASSERT_TRUE(text);
    EXPECT_NE(json_string(*text, "text").find("two hosts"), std::string::npos);
}

TEST_F(BalancerTest, tries_what_a_user_asked_for_elsewhere)
{
    judge_.choice = move("web", "a", "b");
    ASSERT_TRUE(balancer_->migrate("web", "", "me"));
    fleet_.kill_daemon("b", 300); // it never makes ready
    judge_.choice = move("web", "a", "c");
    live(200);
    const auto moves = journal_->latest_moves(10, "web");
    ASSERT_GE(moves->size(), 2U);
    EXPECT_EQ(moves->front().to, "c");
    EXPECT_EQ(moves->back().outcome, "failed");
}

TEST_F(BalancerTest, tells_of_hotspots_when_they_begin_and_end)
{
    judge_.spots = {{"h-1", "a", "", "a is hot", {{"id", "h-1"}, {"kind", "host-cpu"}}}};
    live(3);
    EXPECT_EQ(count_events("HOTSPOT"), 1);
    EXPECT_EQ(balancer_->query_hosts()[0]["hotspots"][0], "h-1");
    EXPECT_EQ((*balancer_->explain("h-1"))["kind"], "hotspot");
    judge_.spots.clear();
    live(2);
    EXPECT_EQ(count_events("HOTSPOT"), 2);
    EXPECT_EQ((*balancer_->explain("h-1"))["kind"], "hotspot"); // from the journal
    EXPECT_FALSE(balancer_->explain("h-2"));
}

TEST_F(BalancerTest, a_bad_file_leaves_the_configuration_in_force)
{
    const std::string path = directory_.path() + "/fleet.toml";
    std::ofstream(path) << "[balancer]\nmode = \"atomatic\"\n";
    const auto refused = balancer_->reload();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("fleet.toml:2:8"), std::string::npos)
        << refused.error().text();
    EXPECT_EQ(balancer_->fleet().hosts().size(), 3U);
    std::ofstream(path) << "[balancer]\nmode = \"off\"\n[[host]]\nname = \"a\"\naddress = "
                           "\"unix:/a\"\n";
    ASSERT_TRUE(balancer_->reload());
    live(2);
    EXPECT_EQ(balancer_->mode(), Mode::Off);
    EXPECT_EQ(balancer_->fleet().hosts().size(), 1U);
    EXPECT_TRUE(balancer_->fleet().host("a")->up);
    EXPECT_GT(count_events("MODE"), 0);
}

TEST_F(BalancerTest, survives_garbage_of_all_kinds)
{
    fleet_.faults.garbage = 1;
    for (const auto& [host, hear] : hear_)
        for (const char* text : {"null", "[]", R"({"event": 7})", R"({"event": "VM_MIGRATION"})"})
            hear(Json::parse(text));
    judge_.choice = move("web", "a", "b");
    (void)balancer_->migrate("web", "b", "me");
    live(100);
    fleet_.faults.garbage = 0;
    live(200);
    EXPECT_EQ(under_way(), 0U);
    EXPECT_EQ(fleet_.complaint_when_settled(), "");
    EXPECT_EQ(balancer_->query_vms().size(), 2U);
}

TEST_F(BalancerTest, an_operator_can_end_what_nobody_can_be_asked_about)
{
    const auto reload_without = [this](const std::string& gone) {
        std::string text;
        for (const std::string host : {"a", "b", "c"})
            if (host != gone)
                text += "[[host]]\nname = \"" + host + "\"\naddress = \"unix:/" + host + "\"\n";
        std::ofstream(directory_.path() + "/fleet.toml") << text;
        EXPECT_TRUE(balancer_->reload());
    };
    judge_.choice = move("web", "a", "b");
    const auto begun = balancer_->migrate("web", "b", "me");
    ASSERT_TRUE(begun);
    live(0.3);
    reload_without("a");
    live(100);
    ASSERT_EQ(under_way(), fleet_.host_of("web") == "b" ? 0U : 1U);
    ASSERT_TRUE(under_way() == 0 || balancer_->cancel(json_string(*begun, "id"), "me"));
    live(60);
    EXPECT_EQ(under_way(), 0U);
    EXPECT_EQ(fleet_.complaint(), "");
}

TEST_F(BalancerTest, cancels)
{
    judge_.choice = move("web", "a", "b");
    const auto begun = balancer_->migrate("web", "b", "me");
    ASSERT_TRUE(begun);
    EXPECT_FALSE(balancer_->migrate("web", "b", "me")); // one at a time
    ASSERT_TRUE(balancer_->cancel(json_string(*begun, "id"), "me"));
    EXPECT_FALSE(balancer_->cancel("m-none", "me"));
    live(60);
    EXPECT_EQ(under_way(), 0U);
    const auto moves = journal_->latest_moves(1, "web");
    EXPECT_EQ(moves->front().outcome, "cancelled");
    EXPECT_EQ(fleet_.host_of("web"), "a");
}

} // namespace
} // namespace drover::balancer::cluster::testing
