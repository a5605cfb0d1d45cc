// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/balancer.h"

#include "tests/unit/balancer/cluster/fake_fleet.h"
#include "tests/unit/balancer/cluster/fake_judge.h"
#include "tests/unit/balancer/cluster/temporary_directory.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer::cluster::testing {
namespace {

class BalancerTest : public ::testing::Test {
protected:
    BalancerTest() : fleet_(time_, 1, false)
    {
        for (const char* host : {"a", "b", "c"})
            fleet_.add_host(host);
        fleet_.add_vm("web", "a");
        fleet_.add_vm("db", "a");
        config_.mode = Mode::Recommend;
        for (const std::string& host : fleet_.hosts())
            config_.hosts.push_back({.name = host, .address = "unix:/" + host});
        start();
    }

    void start()
    {
        balancer_.reset();
        journal_.reset();
        fleet_.balancer_died();
        auto journal = Journal::open(directory_.path() + "/journal", time_);
        ASSERT_TRUE(journal) << journal.error().text();
        journal_ = std::move(*journal);
        balancer_ = std::make_unique<Balancer>(
            config_, Balancer::Parts{.journal = *journal_,
                                     .judgement = judge_,
                                     .time = time_,
                                     .make_link =
                                         [this](const HostConfig& host, const auto& event) {
                                             hear_[host.name] = event;
                                             return fleet_.make_door(host.name);
                                         },
                                     .config_file = directory_.path() + "/fleet.toml",
                                     .run = ++run_,
                                     .event =
                                         [this](const std::string& name, Json data) {
                                             events_.push_back({name, std::move(data)});
                                         }});
        live(3);
    }

    /// A balancer that never heard of what the one before it did.
    void start_without_journal()
    {
        balancer_.reset();
        journal_.reset();
        for (const char* end : {"", "-wal", "-shm"})
            std::filesystem::remove(directory_.path() + "/journal" + end);
        start();
    }

    [[nodiscard]] std::string owner() const { return balancer_->query_status()["owner"]; }

    void live(double seconds)
    {
        for (const double end = time_.now() + seconds; time_.now() < end;) {
            balancer_->tick();
            time_.run(0.1, [] {});
        }
    }

    static ChosenMove move(const std::string& vm, const std::string& from, const std::string& to)
    {
        ChosenMove move;
        move.vm = vm;
        move.from = from;
        move.to = to;
        move.why = "because";
        return move;
    }

    [[nodiscard]] std::string plan_id() const { return json_string(balancer_->query_plan(), "id"); }
    [[nodiscard]] size_t under_way() const { return balancer_->query_migrations().size(); }
    [[nodiscard]] int count_events(const std::string& name) const
    {
        return static_cast<int>(std::count_if(events_.begin(), events_.end(),
                                              [&](const auto& e) { return e.first == name; }));
    }

    TemporaryDirectory directory_;
    VirtualTime time_;
    FakeFleet fleet_;
    FakeJudge judge_;
    Config config_;
    std::unique_ptr<Journal> journal_;
    std::unique_ptr<Balancer> balancer_;
    std::vector<std::pair<std::string, Json>> events_;
    std::map<std::string, std::function<void(const Json&)>> hear_;
    int run_ = 0;
};

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
