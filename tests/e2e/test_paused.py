# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that do not run while they are moved: their disks go with them, and they can be moved again."""

import os
import signal

from drover_e2e import paths
from drover_e2e.case import Case, Skip
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions, Vm

SMALL = GuestOptions(memory="256M", working_set="32M", dirty=1000)


def status(vm: Vm) -> str:
    return vm.qmp.execute("query-status")["status"]


def move(case: Case, source: Vm, destination: Vm) -> None:
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)


@test()
def test_disk_moves_on_while_paused(case):
    """Each leg ends paused, the second one at a destination started with -S; and back where the
    images are to be activated late, as libvirt has it."""
    if not paths.is_drover(case.emulator):
        raise Skip("QEMU 7.2 activates the images of a guest that arrives paused before it is told")
    options = SMALL.but(disk=case.disk())
    first = case.guest(options)
    second = case.destination(options)
    third = case.destination(options, paused=True)
    fourth = case.destination(options)
    fourth.qmp.execute("migrate-set-capabilities", capabilities=[
        {"capability": "late-block-activate", "state": True}])
    fifth = case.destination(options)
    first.qmp.execute("stop")
    for source, destination in ((first, second), (second, third), (third, fourth), (fourth, fifth)):
        move(case, source, destination)
        source.stop()
        assert status(destination) in ("paused", "prelaunch"), status(destination)
    fifth.qmp.execute("cont")
    case.alive_on(fifth)
    case.healthy(fifth)


@test()
def test_cancelled_while_paused(case):
    """A paused guest whose migration is cancelled, or fails before its devices are saved, is paused
    as before. Once QEMU has saved them it must run before it is moved again: said at once."""
    if not paths.is_drover(case.emulator):
        raise Skip("stock QEMU leaves such a guest in postmigrate, and refuses the next migration")
    options = SMALL.but(disk=case.disk())
    source = case.guest(options)
    source.qmp.execute("stop")
    destination = case.destination(options)
    source.qmp.execute("migrate-set-capabilities", capabilities=[
        {"capability": "pause-before-switchover", "state": True}])
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("pre-switchover", after=mark)
    source.qmp.execute("migrate_cancel")
    source.qmp.wait_migration("cancelled", after=mark)
    assert status(source) == "paused", status(source)
    destination.wait_exit()

    destination = case.destination(options)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("pre-switchover", after=mark)
    os.kill(destination.drover_pid(), signal.SIGSTOP)
    source.qmp.execute("migrate-continue", state="pre-switchover")
    source.qmp.wait_migration("failed", after=mark)
    destination.kill()
    assert status(source) == "postmigrate", status(source)

    mark = case.start_migration(source, case.destination(options).uri)
    source.qmp.wait_migration("failed", after=mark)
    info = source.qmp.execute("query-migrate")
    assert "cont" in info["error-desc"], info
    assert info["ram"]["transferred"] < 4096, info
    source.qmp.execute("cont")
    case.alive_on(source)


def run_job(vm: Vm, command: str, job: str, **arguments) -> None:
    mark = vm.qmp.mark()
    vm.qmp.execute(command, **{"job__id": job, **arguments})
    vm.qmp.wait_event("JOB_STATUS_CHANGE", after=mark, match=lambda data:
                      data["id"] == job and data["status"] == "concluded")
    jobs = [each for each in vm.qmp.execute("query-jobs") if each["id"] == job]
    assert "error" not in jobs[0], jobs
    vm.qmp.execute("job-dismiss", id=job)


@test()
def test_snapshot_after_taking_back(case):
    """What Drover set at QEMU for a migration is off again afterwards: a snapshot holds RAM."""
    source = case.guest(SMALL)
    destination = case.destination(SMALL, paused=True)
    move(case, source, destination)
    destination.kill()
    source.qmp.execute("cont")
    case.alive_on(source)
    path = case.directory / "snapshots.qcow2"
    path.touch()
    source.qmp.execute("blockdev-add", driver="file", filename=str(path), node__name="file")
    run_job(source, "blockdev-create", "make", options={"driver": "qcow2", "file": "file", "size": 1 << 20})
    source.qmp.execute("blockdev-add", driver="qcow2", file="file", node__name="disk")
    run_job(source, "snapshot-save", "save", tag="now", vmstate="disk", devices=["disk"])
    node = [each for each in source.qmp.execute("query-named-block-nodes")
            if each["node-name"] == "disk"][0]
    size = node["image"]["snapshots"][0]["vm-state-size"]
    assert size > 32 << 20, size


@test()
def test_one_side_runs_what_arrived_paused(case):
    """The source's cont asks the destination for the guest; the destination's needs no question."""
    if not paths.is_drover(case.emulator):
        raise Skip("stock QEMU runs it on both sides, if it is told to")
    source = case.guest(SMALL)
    destination = case.destination(SMALL, paused=True)
    move(case, source, destination)
    source.qmp.execute("cont")
    case.alive_on(source)
    destination.wait_exit()
    destination = case.destination(SMALL, paused=True)
    move(case, source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination)
    try:
        source.qmp.execute("cont")
    except QmpError as error:
        assert "has run at its destination" in str(error) or "runs at its" in str(error), error
    else:
        raise AssertionError("both sides took cont")
