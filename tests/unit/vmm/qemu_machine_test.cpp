// SPDX-License-Identifier: GPL-2.0-or-later
//
// How a stock QEMU is driven, against one that the test plays.
#include "fake_qemu.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

using testing::run_until;

/// A guest that runs, and that is begun to be saved.
struct QemuSave : ::testing::Test {
    QemuSave() { qemu.set_status("running"); }

    void begin()
    {
        qemu.machine->begin_save({
            .paused = [this](bool ran) { paused = ran; },
            .data = [](std::span<const std::byte>) {},
            .saved = [] {},
            .failed = [this](Error error) { failed = std::move(error); },
        });
    }
    /// Until QEMU was told to migrate.
    void issue()
    {
        begin();
        ASSERT_TRUE(run_until([&] { return qemu.count("migrate") == 1; }));
        qemu.migration("active");
    }
    /// Until it has paused the guest, or given up.
    void pause()
    {
        qemu.migration("pre-switchover");
        ASSERT_TRUE(run_until([&] { return paused || failed; }));
    }
    void abandon()
    {
        qemu.machine->abandon_save([this](Status status) { settled = std::move(status); });
    }
    bool run_to_settled()
    {
        return run_until([&] { return settled.has_value(); });
    }

    FakeQemu qemu;
    std::optional<bool> paused; ///< whether it ran until then
    std::optional<Error> failed;
    std::optional<Status> settled;
};

TEST_F(QemuSave, AGuestThatTheMigrationPausesIsToRun)
{
    issue();
    qemu.event("STOP");
    pause();
    EXPECT_EQ(paused, true);
}

struct OwnStop {
    const char* event;
    const char* action; ///< in its data
};

void PrintTo(const OwnStop& stop, std::ostream* out)
{
    *out << stop.event;
}

class QemuSaveOfAGuestThatStops : public QemuSave, public ::testing::WithParamInterface<OwnStop> {};

INSTANTIATE_TEST_SUITE_P(By, QemuSaveOfAGuestThatStops,
                         ::testing::Values(OwnStop{"SHUTDOWN", ""},
                                           OwnStop{"BLOCK_IO_ERROR", "stop"},
                                           OwnStop{"GUEST_PANICKED", "pause"},
                                           OwnStop{"WATCHDOG", "pause"}));

/// Between the question whether it runs and the pause.
TEST_P(QemuSaveOfAGuestThatStops, IsNotToRun)
{
    issue();
    qemu.event(GetParam().event, Json{{"action", GetParam().action}});
    qemu.event("STOP");
    pause();
    EXPECT_EQ(paused, false);
}

/// A guest whose disk's error is told to itself goes on.
TEST_F(QemuSave, AnEventThatStopsNothingIsNoStop)
{
    issue();
    qemu.event("BLOCK_IO_ERROR", Json{{"action", "report"}});
    qemu.event("WATCHDOG", Json{{"action", "none"}});
    qemu.event("STOP");
    pause();
    EXPECT_EQ(paused, true);
}

TEST_F(QemuSave, WaitsForAUsersStopThatIsOnItsWay)
{
    qemu.machine->run_state_asked();
    begin();
    testing::run_pending();
    EXPECT_EQ(qemu.count("query-status"), 0);
    qemu.set_status("paused");
    qemu.event("STOP"); // the user's, which names no cause
    qemu.machine->run_state_answered();
    ASSERT_TRUE(run_until([&] { return paused || failed; }));
    EXPECT_EQ(paused, false);
}

TEST_F(QemuSave, GivenUpWhileItWaitsDoesNotBegin)
{
    qemu.machine->run_state_asked();
    begin();
    abandon();
    ASSERT_TRUE(run_to_settled());
    EXPECT_TRUE(*settled);
    qemu.machine->run_state_answered();
    testing::run_pending();
    EXPECT_EQ(qemu.count("migrate-set-parameters"), 0);
}

/// What it writes from then on would be lost.
TEST_F(QemuSave, AGuestThatIsRunAgainIsNotSaved)
{
    qemu.set_status("paused");
    begin();
    ASSERT_TRUE(run_until([&] { return paused.has_value(); }));
    EXPECT_EQ(paused, false);
    qemu.event("RESUME");
    ASSERT_TRUE(run_until([&] { return failed.has_value(); }));
    EXPECT_EQ(qemu.count("migrate"), 0);
}

// Suspended to RAM: it would arrive with inactive disks, or woken up.

TEST_F(QemuSave, ASuspendedGuestIsRefused)
{
    qemu.set_status("suspended");
    std::optional<Status> prepared;
    qemu.machine->prepare_save([&](Status status) { prepared = std::move(status); });
    ASSERT_TRUE(run_until([&] { return prepared.has_value(); }));
    ASSERT_FALSE(*prepared);
    EXPECT_EQ(prepared->error().kind, ErrorKind::Refused);
}

TEST_F(QemuSave, AGuestThatFellAsleepWhileItsRamWasCopiedStays)
{
    qemu.set_status("suspended");
    begin();
    ASSERT_TRUE(run_until([&] { return paused || failed; }));
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->kind, ErrorKind::Refused);
    abandon();
    ASSERT_TRUE(run_to_settled());
    EXPECT_TRUE(*settled);
    EXPECT_EQ(qemu.count("migrate"), 0);
    EXPECT_EQ(qemu.count("cont"), 0);
}

TEST_F(QemuSave, AGuestThatFallsAsleepBeforeThePauseStaysAsleep)
{
    issue();
    qemu.event("SUSPEND");
    ASSERT_TRUE(run_until([&] { return failed.has_value(); }));
    EXPECT_EQ(failed->kind, ErrorKind::Refused);
    qemu.set_status("suspended");
    abandon();
    qemu.migration("cancelled");
    ASSERT_TRUE(run_to_settled());
    EXPECT_TRUE(*settled) << settled->error().text();
    EXPECT_EQ(qemu.count("cont"), 0) << "QEMU takes it, and it wakes nobody";
}

// The way back.

/// Up to the pause, and back, with a guest that stands still then as `status` says.
struct QemuUnwind : QemuSave {
    void unwind(const char* status)
    {
        issue();
        qemu.event("STOP");
        pause();
        qemu.set_status(status);
        abandon();
    }
};

TEST_F(QemuUnwind, RunsTheGuestWhenQemuLetsIt)
{
    qemu.refuse("cont", "Migration is not finalized yet");
    unwind("finish-migrate");
    qemu.migration("cancelled");
    ASSERT_TRUE(run_until([&] { return qemu.count("cont") == 3; }));
    EXPECT_FALSE(settled);
    qemu.set_status("running");
    ASSERT_TRUE(run_to_settled());
    EXPECT_TRUE(*settled);
    ASSERT_TRUE(run_until([&] { return qemu.count("announce-self") == 1; }));
}

TEST_F(QemuUnwind, IsPatientOnceQemuHasEndedItsMigrationHoweverLongThatTook)
{
    qemu.refuse("cont", "Migration is not finalized yet");
    unwind("finish-migrate");
    const auto slow =
        loop::after(std::chrono::milliseconds(1'200), [&] { qemu.migration("cancelled"); });
    ASSERT_TRUE(run_until([&] { return settled || qemu.count("cont") == 2; }));
    EXPECT_FALSE(settled) << "the guest would stand still";
    qemu.set_status("running");
    ASSERT_TRUE(run_to_settled());
    EXPECT_TRUE(*settled);
}

/// Somebody else's lock on a disk lasts: it is the user's then, who hears why.
TEST_F(QemuUnwind, EndsWithQemusWordsWhereTheGuestCannotBeRun)
{
    qemu.refuse("cont", "Failed to get \"write\" lock");
    unwind("finish-migrate");
    qemu.migration("cancelled");
    ASSERT_TRUE(run_to_settled());
    ASSERT_FALSE(*settled);
    EXPECT_NE(settled->error().message.find("\"write\" lock"), std::string::npos);
    EXPECT_EQ(qemu.count("announce-self"), 0);
}

TEST_F(QemuUnwind, EndsWhereContHasNoEffect)
{
    unwind("finish-migrate");
    qemu.migration("cancelled");
    ASSERT_TRUE(run_to_settled());
    ASSERT_FALSE(*settled);
    EXPECT_NE(settled->error().message.find("no effect"), std::string::npos);
}

/// It needs a reset, which is not ours to do.
TEST_F(QemuUnwind, LeavesAGuestThatHasPoweredOffOrBrokenDown)
{
    for (const char* status : {"shutdown", "internal-error"}) {
        SCOPED_TRACE(status);
        settled.reset();
        unwind(status);
        qemu.migration("cancelled");
        ASSERT_TRUE(run_to_settled());
        EXPECT_TRUE(*settled);
        EXPECT_EQ(qemu.count("cont"), 0);
        qemu.commands.clear();
        qemu.set_status("running");
    }
}

// What QEMU carries itself (video memory) must fit the wished pause, at the link's speed.

TEST_F(QemuSave, QemuPausesLateAtFirst)
{
    issue();
    EXPECT_EQ(qemu.parameter("downtime-limit"), 10);
    // A guest that draws all the time is paused all the same.
    ASSERT_TRUE(run_until([&] { return qemu.parameter("downtime-limit") == 300; }));
    EXPECT_FALSE(paused);
}

} // namespace
} // namespace drover::qemu
