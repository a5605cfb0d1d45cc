# SPDX-License-Identifier: GPL-2.0-or-later
"""Cancelled migrations: the guest runs on at the source, at full speed, and can be moved later."""

import time

from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=5000)


def cancel(case, source, mark):
    asked = time.monotonic()
    source.qmp.execute("migrate_cancel")
    source.qmp.wait_migration("cancelled", timeout=5, after=mark)
    case.alive_on(source)
    return asked


def full_speed(case, source, since):
    case.writes_at(source, source.options.dirty * 0.9, since)


def pause_before_switchover(source):
    source.qmp.execute("migrate-set-capabilities", capabilities=[
        {"capability": "pause-before-switchover", "state": True}])


@test()
def test_in_the_first_round(case):
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=10_000_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", after=mark)
    since = cancel(case, source, mark)
    full_speed(case, source, since)
    assert destination.wait_exit() != 0
    assert destination.stderr().strip(), "the destination ended without a word"

    second = case.destination(SMALL)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
    case.migrate(source, second)
    case.healthy(second)


@test()
def test_before_the_switchover(case):
    """Paused on the user's wish: the cancel brings the guest back."""
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    pause_before_switchover(source)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("pre-switchover", after=mark)
    since = cancel(case, source, mark)
    full_speed(case, source, since)
    case.healthy(source)


@test()
def test_go_on_after_the_pause(case):
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    pause_before_switchover(source)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("pre-switchover", after=mark)
    source.qmp.execute("migrate-continue", state="pre-switchover")
    case.finish_migration(source, mark)
    case.alive_on(destination)
    case.healthy(destination)


@test(moment=["setup", "active", "device"])
def test_at_any_moment_leaves_one_guest(case, moment):
    """The cancel may come too late: then the guest runs at the destination, and only there."""
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    mark = case.start_migration(source, destination.uri)
    # QEMU tells "device" only where it paused before the switchover.
    source.qmp.wait_migration(moment, "completed", after=mark)
    source.qmp.execute("migrate_cancel")
    end = source.qmp.wait_migration("completed", "cancelled", after=mark).data["status"]
    winner = destination if end == "completed" else source
    case.alive_on(winner)
    case.healthy(winner)


@test()
def test_nothing_to_cancel(case):
    source = case.guest(SMALL)
    source.qmp.execute("migrate_cancel")  # QEMU takes it without complaint
    case.alive_on(source)


@test()
def test_second_migration_at_the_same_time_is_refused(case):
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=10_000_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", after=mark)
    try:
        source.qmp.execute("migrate", uri=destination.uri)
        raise AssertionError("a second migration was accepted")
    except QmpError as error:
        assert "migrat" in error.desc.lower(), error.desc
    source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
    case.finish_migration(source, mark)
    case.alive_on(destination)
