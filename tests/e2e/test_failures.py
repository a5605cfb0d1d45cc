# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever dies and whenever: the guest runs on exactly one side, or not at all if its own host
died, and never twice."""

import fcntl
import os
import signal
import struct
import time

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.proxy import Proxy
from drover_e2e.runner import test
from drover_e2e.sync import SyncPoints
from drover_e2e.vm import GuestOptions

# A copy waits for a link that broke, but here nobody mends it.
SMALL = GuestOptions(memory="256M", working_set="64M", dirty=3000, policy="downtime=50ms,deadline=60s,reconnect=3s")
FIRST_ROUND = 1 << 20  # bytes: well inside the first round of SMALL
LATER_ROUND = 110 << 20  # past all that a first round of SMALL sends
PHASES = ["setup", "first-round", "later-round", "pre-switchover"]  # what comes then: test_interleavings.py


class Broken:
    """A migration under way, through a proxy, stopped at a phase by an action."""

    def __init__(self, case, options: GuestOptions = SMALL):
        if not paths.is_drover(case.emulator):
            raise Skip("what stock QEMU does when something dies is not ours to test")
        self.case = case
        self.source = case.guest(options)
        self.destination = case.destination(options)
        self.proxy = case.keep(Proxy(f"{case.scratch}/proxy", self.destination.uri))

    def act_at(self, phase: str, action) -> None:
        """Starts the migration and acts in that phase."""
        source, proxy = self.source, self.proxy
        if phase == "pre-switchover":
            source.qmp.execute("migrate-set-capabilities", capabilities=[
                {"capability": "pause-before-switchover", "state": True}])
        if phase == "first-round":
            proxy.at(FIRST_ROUND, action)
        if phase == "later-round":
            # Fast enough for the guest to dirty again what was sent: rounds without an end.
            self.case.beats.command(source.name, "dirty 200000")
            source.qmp.execute("migrate-set-parameters", max__bandwidth=60_000_000)
            proxy.at(LATER_ROUND, action)
        self.mark = self.case.start_migration(source, proxy.uri)
        if phase.endswith("-round"):
            assert proxy.acted.wait(30), f"no byte came so far: {proxy.forwarded}"
        else:
            source.qmp.wait_migration(phase, "completed", after=self.mark)
            action()

    def end_at_source(self, timeout: float = 30) -> str:
        event = self.source.qmp.wait_migration("completed", "failed", "cancelled",
                                               timeout=timeout, after=self.mark)
        return event.data["status"]

    def settle(self, timeout: float = 30):
        """Where the guest runs after all: at the destination only if the source handed over."""
        end = self.end_at_source(timeout)
        winner = self.destination if end == "completed" else self.source
        self.case.alive_on(winner)
        if end != "completed":
            report = self.source.qmp.execute("query-migrate")
            assert report.get("error-desc"), f"failed without a word: {report}"
        return winner

    def runs_on_source_within_a_second(self, since: float) -> None:
        beat = self.case.beats.wait(self.source.name, 5, after=since)
        # The wait for a beat is bounded by the last one before the action too: none stands still.
        assert beat.at - since < 1.0, f"stood still for {beat.at - since:.2f} s"
        self.case.alive_on(self.source)

    def moves_after_all(self) -> None:
        """The failure left nothing behind that stands in the way of the next try."""
        self.case.beats.command(self.source.name, f"dirty {SMALL.dirty}")
        self.source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
        self.source.qmp.execute("migrate-set-capabilities", capabilities=[
            {"capability": "pause-before-switchover", "state": False}])
        second = self.case.destination(SMALL)
        self.case.migrate(self.source, second)
        self.case.healthy(second)


@test(victim=["qemu", "drover"], phase=PHASES)
def test_destination_dies(case, victim, phase):
    broken = Broken(case)
    destination = broken.destination
    pid = destination.pid if victim == "qemu" else destination.drover_pid()
    killed = []

    def kill():
        killed.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)

    broken.act_at(phase, kill)
    assert destination.wait_exit() != 0
    destination.wait_drover_gone()
    if victim == "qemu":
        assert destination.stderr().strip(), "the destination's Drover ended without a word"
    assert broken.end_at_source() == "failed"
    broken.runs_on_source_within_a_second(killed[0])
    broken.moves_after_all()


def still_welcomes(case, destination) -> None:
    """A source that died while it said hello may or may not have been taken on. If not, the
    destination waits for another one."""
    try:
        assert destination.wait_exit(3) != 0
        assert destination.stderr().strip(), "the destination ended without a word"
    except TimeoutError:
        other = case.guest(SMALL)
        case.migrate(other, destination)


@test(victim=["qemu", "drover"], phase=PHASES)
def test_source_dies(case, victim, phase):
    broken = Broken(case)
    source, destination = broken.source, broken.destination
    pid = source.pid if victim == "qemu" else source.drover_pid()
    broken.act_at(phase, lambda: os.kill(pid, signal.SIGKILL))
    assert source.wait_exit() != 0
    source.wait_drover_gone()
    if victim == "qemu":
        assert source.stderr().strip(), "the source's Drover ended without a word"
    died = time.monotonic()
    if phase == "setup":
        still_welcomes(case, destination)
        return
    assert destination.wait_exit() != 0
    assert destination.stderr().strip(), "the destination ended without a word"
    assert not case.beats.between(died + 0.1, time.monotonic()), "a dead guest beats"


@test(phase=["first-round", "later-round"])
def test_guest_ends_meanwhile(case, phase):
    """As it powers off, or resets with -no-reboot: that is no failure of its host, and nobody runs what was sent of it."""
    broken = Broken(case, SMALL.but(extra=("-no-reboot",)))
    source, destination = broken.source, broken.destination
    broken.act_at(phase, lambda: case.beats.command(source.name, "reboot"))
    assert source.wait_exit(30) == 0, source.stderr()
    ended = time.monotonic()
    assert destination.wait_exit() != 0
    assert "never ran here" in destination.stderr(), destination.stderr()
    assert not case.beats.between(ended + 0.1, time.monotonic()), "a guest that has ended beats"


@test(phase=PHASES)
def test_link_is_cut(case, phase):
    broken = Broken(case)
    cut = []

    def act():
        cut.append(time.monotonic())
        broken.proxy.cut()

    broken.act_at(phase, act)
    assert broken.settle() is broken.source
    broken.runs_on_source_within_a_second(cut[0])
    if phase != "setup":  # cut before the hello, it was just one more stranger
        assert broken.destination.wait_exit() != 0
        assert broken.destination.stderr().strip(), "the destination ended without a word"
    broken.moves_after_all()


@test(phase=["first-round", "later-round"])
def test_link_stalls_in_a_round(case, phase):
    """Nobody is told: the guest runs on, and a cancel works."""
    broken = Broken(case)
    stalled = []

    def act():
        stalled.append(time.monotonic())
        broken.proxy.stall()

    broken.act_at(phase, act)
    broken.runs_on_source_within_a_second(stalled[0])
    broken.source.qmp.execute("migrate_cancel")
    broken.source.qmp.wait_migration("cancelled", "failed", timeout=5, after=broken.mark)
    case.alive_on(broken.source)
    broken.proxy.cut()
    broken.moves_after_all()


@test(phase=["pre-switchover", "device"])
def test_link_stalls_at_the_switchover(case, phase):
    """The guest never runs twice, and once the link is back it runs."""
    broken = Broken(case)
    broken.act_at(phase, broken.proxy.stall)
    if phase == "pre-switchover":
        broken.source.qmp.execute("migrate-continue", state="pre-switchover")
    stalled = time.monotonic()
    try:
        broken.source.qmp.wait_migration("completed", "failed", timeout=3, after=broken.mark)
    except TimeoutError:
        pass  # it cannot know yet, and does not guess
    broken.proxy.resume()
    broken.settle()
    sides = {beat.side for beat in case.beats.between(stalled + 0.2, time.monotonic())}
    assert len(sides) == 1, f"it ran on {sides}"


@test(offset=[FIRST_ROUND, 40 << 20])
def test_damaged_byte_is_noticed(case, offset):
    broken = Broken(case)
    broken.proxy.corrupt_at(offset)
    broken.mark = case.start_migration(broken.source, broken.proxy.uri)
    assert broken.end_at_source() == "failed"
    case.alive_on(broken.source)
    report = broken.source.qmp.execute("query-migrate")
    assert report.get("error-desc"), report
    assert broken.destination.wait_exit() != 0
    assert "checksum" in broken.destination.stderr().lower(), broken.destination.stderr()
    broken.moves_after_all()


@test()
def test_take_over_fails_at_the_second_disk(case):
    """The destination's QEMU has locked the first one by then: it ends at once, so that the source can run the guest."""
    if not paths.is_drover(case.emulator):
        raise Skip("stock QEMU's destination is on its own then")
    points = case.keep(SyncPoints(f"{case.scratch}/sync"))
    second = case.directory / "second.raw"
    second.write_bytes(bytes(1 << 20))
    options = SMALL.but(disk=case.disk(), env=points.env, extra=(
        "-drive", f"file={second},if=none,id=disk1,format=raw", "-device", "virtio-blk-pci,drive=disk1"))
    source, destination = case.guest(options), case.destination(options)
    points.hold("source committing")
    points.hold("destination failed")
    mark = case.start_migration(source, destination.uri)
    points.wait("source committing")
    with open(second, "rb") as image:
        # As another QEMU that lets nobody write. Byte 201 is QEMU's for "shares no writing".
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
        fcntl.fcntl(image, fcntl.F_OFD_SETLK, lock)
        points.let_go("source committing")
        points.wait("destination failed")
    acted = time.monotonic()
    points.let_go("destination failed")
    source.qmp.wait_migration("failed", after=mark)
    assert source.qmp.execute("query-status")["running"], source.stderr()
    case.alive_on(source, 5)
    assert time.monotonic() - acted < 5
    case.healthy(source)
