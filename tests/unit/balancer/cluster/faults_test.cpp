// SPDX-License-Identifier: GPL-2.0-or-later
//
// Everything that can break breaks, many times, while VMs are moved: no guest may be lost or
// doubled, and once nothing breaks any more everything must come to its end.
#include "contrib/balancer/cluster/balancer.h"
#include "tests/unit/balancer/cluster/fake_fleet.h"
#include "tests/unit/balancer/cluster/fake_judge.h"
#include "tests/unit/balancer/cluster/temporary_directory.h"

#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer::cluster::testing {
namespace {

constexpr int hosts = 5;
constexpr int vms = 12;

/// The balancer dies at the so-manieth thing that it writes or says from now.
struct Death {
    int countdown = -1; // < 0: not planned
    bool dead = false;

    bool strikes()
    {
        if (!dead && countdown >= 0 && countdown-- == 0)
            dead = true;
        return dead;
    }
};

/// A journal whose disk is full at times, and whose process dies between any two steps.
class FaultyLog : public MoveLog {
public:
    FaultyLog(MoveLog& real, Death& death, const bool& disk_full)
        : real_(real), death_(death), disk_full_(disk_full)
    {
    }
    Status add(const MoveRecord& record) override
    {
        return write([&] { return real_.add(record); });
    }
    Status step(const MoveRecord& record, const std::string& note) override
    {
        return write([&] { return real_.step(record, note); });
    }

private:
    Status write(const std::function<Status()>& what)
    {
        if (death_.strikes())
            return fail(ErrorKind::System, "it is dead");
        if (disk_full_)
            return fail(ErrorKind::System, "disk full");
        Status done = what();
        (void)death_.strikes(); // after it is written, before it is acted on
        return done;
    }
    MoveLog& real_;
    Death& death_;
    const bool& disk_full_;
};

class World {
public:
    World(uint64_t seed, bool blind)
        : random_(seed), ids_(seed * 1'000'000), fleet_(time_, seed + 1, blind), blind_(blind)
    {
        for (int i = 0; i < hosts; ++i)
            fleet_.add_host("host" + std::to_string(i));
        for (int i = 0; i < vms; ++i)
            fleet_.add_vm("vm" + std::to_string(i), pick_host());
        for (int i = 0; i < vms; i += 3)
            fleet_.stock.insert("vm" + std::to_string(i));
        fleet_.may_send = [this] { return !death_.strikes(); };
        start_balancer();
    }

    void live(double seconds, bool with_moves)
    {
        for (const double end = time_.now() + seconds; time_.now() < end && complaint_.empty();) {
            if (!with_moves || chance(0.1)) // a plan holds for some rounds
                judge_.next = {};
            while (with_moves && judge_.next.moves.size() < 4)
                judge_.next.moves.push_back(some_move());
            balancer([&] { balancer_->tick(); });
            if (with_moves && chance(0.2))
                balancer([&] { (void)balancer_->migrate(some_vm(), "", "test"); });
            if (with_moves && chance(0.05))
                balancer([&] { cancel_something(); });
            time_.run(0.25, [&] { balancer([] {}); });
        }
    }

    void inject()
    {
        ++injected;
        const std::string host = pick_host();
        const double length = between(0.5, 25);
        switch (random_() % (blind_ ? 10 : 11)) {
        case 0: return fleet_.kill_daemon(host, length);
        case 1: return fleet_.cut_balancer_link(host, length);
        case 2: return fleet_.cut_host_link(host, pick_host(), length);
        case 3: return fleet_.kill_waiting_emulator(host);
        case 4:
        case 5:
        case 6: death_.countdown = static_cast<int>(random_() % 12); return;
        case 7: disk_full_ = !disk_full_ && chance(0.6); return;
        case 8:
            fleet_.faults.garbage = chance(0.5) ? between(0, 0.5) : 0;
            fleet_.faults.lose_request = chance(0.5) ? between(0, 0.3) : 0;
            fleet_.faults.lose_reply = chance(0.5) ? between(0, 0.3) : 0;
            fleet_.faults.late = blind_ ? 0 : 0.5;
            return;
        case 9: return time_.jump_wall(between(-1e6, 1e6));
        default: break_journal_ = chance(0.3); return;
        }
    }

    void stop_faults()
    {
        death_.countdown = -1;
        disk_full_ = false;
        fleet_.faults = {};
    }

    void expect_settled()
    {
        EXPECT_TRUE(complaint_.empty()) << complaint_;
        EXPECT_EQ(fleet_.complaint_when_settled(), "");
        for (const Move* move : balancer_->mover().moves())
            ADD_FAILURE() << "migration " << move->record().id << " is "
                          << to_string(move->record().state) << ": " << move->waits_for();
        const auto open = journal_->open_moves();
        ASSERT_TRUE(open);
        EXPECT_TRUE(open->empty());
        const auto all = journal_->latest_moves(100'000, "");
        ASSERT_TRUE(all);
        for (const MoveRecord& record : *all)
            EXPECT_EQ(record.outcome == "completed", fleet_.did_move(record.id))
                << record.id << " " << record.outcome << " " << record.error;
    }

    void expect_that_moves_work()
    {
        const int before = completed;
        for (int i = 0; i < vms; ++i) {
            const std::string vm = "vm" + std::to_string(i);
            const std::string from = fleet_.host_of(vm);
            judge_.choice = {.vm = vm, .from = from, .to = from == "host0" ? "host1" : "host0"};
            const auto answer = balancer_->migrate(vm, "", "test");
            EXPECT_TRUE(answer) << answer.error().text();
        }
        live(60, false);
        EXPECT_GT(completed - before, vms / 2); // some fail in the emulators, by chance
    }

    int injected = 0;
    int begun = 0;
    int completed = 0;
    int restarts = 0;
    int broken_journals = 0;

private:
    void start_balancer()
    {
        auto journal = Journal::open(path(), time_);
        ASSERT_TRUE(journal) << journal.error().text();
        journal_ = std::move(*journal);
        broken_journals += !journal_->notice().empty();
        log_ = std::make_unique<FaultyLog>(*journal_, death_, disk_full_);
        Config config;
        config.mode = Mode::Automatic;
        for (const std::string& host : fleet_.hosts())
            config.hosts.push_back({.name = host, .address = "unix:/" + host});
        balancer_ = std::make_unique<Balancer>(
            config, Balancer::Parts{
                        .journal = *journal_,
                        .judgement = judge_,
                        .time = time_,
                        .make_link = [this](const HostConfig& host,
                                            const auto&) { return fleet_.make_door(host.name); },
                        .config_file = "",
                        .run = restarts,
                        .event =
                            [this](const std::string& name, const Json& data) {
                                if (name == "MIGRATION")
                                    count(json_string(data, "state"));
                            },
                        .make_move_id = [this] { return "m-" + std::to_string(++ids_); },
                        .log = log_.get()});
    }

    void count(const std::string& state)
    {
        begun += state == "planned";
        completed += state == "completed";
    }

    /// Runs a piece of the balancer; if it died there, its memory is gone, and another is started.
    void balancer(const std::function<void()>& piece)
    {
        piece();
        if (complaint_.empty())
            complaint_ = fleet_.complaint();
        while (death_.dead) {
            balancer_.reset();
            log_.reset();
            journal_.reset();
            fleet_.balancer_died();
            death_ = {};
            ++restarts;
            if (break_journal_)
                std::ofstream(path(), std::ios::in | std::ios::out).write("nonsense", 8);
            break_journal_ = false;
            start_balancer();
        }
    }

    std::string some_vm() { return "vm" + std::to_string(random_() % vms); }

    /// Now and then what is believed of the fleet is wrong.
    ChosenMove some_move()
    {
        ChosenMove move;
        move.vm = some_vm();
        move.from = chance(0.9) ? fleet_.host_of(move.vm) : pick_host();
        do
            move.to = pick_host();
        while (move.to == move.from);
        judge_.choice = move;
        return move;
    }

    void cancel_something()
    {
        for (const Move* move : balancer_->mover().moves())
            if (chance(0.3))
                return (void)balancer_->cancel(move->record().id, "test");
    }

    std::string pick_host() { return "host" + std::to_string(random_() % hosts); }
    bool chance(double part) { return between(0, 1) < part; }
    double between(double low, double high)
    {
        return std::uniform_real_distribution<double>(low, high)(random_);
    }
    [[nodiscard]] std::string path() const { return directory_.path() + "/journal"; }

    TemporaryDirectory directory_;
    VirtualTime time_;
    std::mt19937_64 random_;
    uint64_t ids_;
    FakeFleet fleet_;
    bool blind_;
    Death death_;
    bool disk_full_ = false;
    bool break_journal_ = false;
    std::string complaint_;
    FakeJudge judge_;
    std::unique_ptr<Journal> journal_;
    std::unique_ptr<FaultyLog> log_;
    std::unique_ptr<Balancer> balancer_;
};

void try_faults(uint64_t seed, bool blind, int faults)
{
    World world(seed, blind);
    for (int i = 0; i < faults && !::testing::Test::HasFailure(); ++i) {
        world.live(2, true);
        world.inject();
    }
    world.stop_faults();
    world.live(400, false);
    world.expect_settled();
    EXPECT_GT(world.begun, faults / 10);
    EXPECT_GT(world.completed, 0);
    EXPECT_GT(world.restarts, faults / 20);
    world.expect_that_moves_work();
    std::cout << "seed " << seed << ": " << world.injected << " faults, " << world.begun
              << " migrations, " << world.completed << " completed, " << world.restarts
              << " restarts of the balancer, " << world.broken_journals << " journals broken\n";
}

class Faults : public ::testing::TestWithParam<uint64_t> {};

TEST_P(Faults, lose_and_double_nothing)
{
    try_faults(GetParam(), false, 500);
}

/// Hosts that believe whatever they are told: the balancer itself must never say what would hurt.
TEST_P(Faults, lose_and_double_nothing_with_blind_hosts)
{
    try_faults(GetParam() + 100, true, 500);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Faults, ::testing::Range<uint64_t>(1, 4));

} // namespace
} // namespace drover::balancer::cluster::testing
