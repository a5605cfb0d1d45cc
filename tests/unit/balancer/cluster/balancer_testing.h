// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/balancer.h"
#include "tests/unit/balancer/cluster/fake_fleet.h"
#include "tests/unit/balancer/cluster/fake_judge.h"
#include "tests/unit/balancer/cluster/temporary_directory.h"

#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>

namespace drover::balancer::cluster::testing {

/// A balancer over a fake fleet of three hosts, two VMs on the first.
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

} // namespace drover::balancer::cluster::testing
