# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move, while they run, between an emulated Xen host and QEMU under Drover on the machine that emulates
it."""

import os
import select
import subprocess
from pathlib import Path

from drover_e2e import xen
from drover_e2e.drover_xen import DroverXen
from drover_e2e.outer import DOOR, Outer
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL


def processes(*words: str) -> dict[int, str]:
    """Of which the command line has one of these words; the numbers, and the command lines."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = (directory / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        arguments = line.decode(errors="replace").split("\0")
        if any(word in arguments for word in words):
            found[int(directory.name)] = " ".join(arguments)
    return found


def state_files() -> list[str]:
    """Where a device model's state is, or is awaited, before it has read it."""
    places = ((Path("/var/lib/xen"), "qemu-resume.*"), (Path("/var/run/xen"), "drover-resume.*"))
    return [str(file) for directory, pattern in places for file in directory.glob(pattern)]


def nothing_is_left(name: str) -> None:
    """Of a guest that came and does not stay; a domain whose memory somebody holds has no name in the list."""
    said = subprocess.run(["xl", "list"], capture_output=True, check=True, text=True).stdout.splitlines()
    left = [line for line in said if line.startswith((name, "(null)"))]
    left += [*processes(name, "migrate-receive").values(), *state_files()]
    assert not left, left


def coming(guest: xen.XenGuest) -> list[int]:
    """The processes of one that comes, for ended()."""
    assert processes(f"{guest.name}--incoming"), "its device model was not started yet"
    return [os.pidfd_open(process) for process in processes(f"{guest.name}--incoming", "migrate-receive")]


def ended(ends: list[int]) -> None:
    """Waits until these processes are no more."""
    for end in ends:
        assert select.select([end], [], [], 60)[0], "it has not ended"
        os.close(end)


def tell(info: dict) -> None:
    print(f"TOLD moved in {info['total-time'] / 1000:.1f} s, downtime {info['downtime']} ms")


@test(timeout=240, smp=[1, 2])
def test_from_xen(case, smp):
    options = NEUTRAL.but(smp=smp)
    guest = xen.booted(case, f"leaves{smp}", options)
    there, uri = Outer().destination(smp=smp, extra=list(xen.PLACE_FOR_TABLES))
    case.keep(there)
    server = DroverXen(case, "server", "serve", guest.name)
    assert server.qmp.execute("query-status")["status"] == "running"
    before = guest.told()
    tell(server.ended(server.migrate(uri), "completed"))
    assert server.qmp.execute("query-status")["status"] == "postmigrate"
    assert guest.name in xen.domains()
    after = there.told(after=before.number)
    assert after.verified > before.verified and after.wrong == 0, (before, after)
    there.healthy()
    assert server.quit() == 0
    guest.gone()
    assert guest.name not in xen.domains()


@test(timeout=240)
def test_given_up(case):
    """While it is copied, and when it stands still already: it goes on here, and can be moved afterwards."""
    guest = xen.booted(case, "stays")
    server = DroverXen(case, "server", "serve", guest.name)
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    server.qmp.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
    mark = server.migrate(uri)
    server.qmp.wait_migration("active", after=mark)
    guest.told(after=guest.told().number + 1)
    server.qmp.execute("migrate_cancel")
    server.ended(mark, "cancelled")
    there.close()
    guest.told(after=guest.told().number + 1)
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    server.qmp.execute("migrate-set-parameters", **{"max-bandwidth": 0})
    server.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "pause-before-switchover", "state": True}])
    mark = server.migrate(uri)
    server.qmp.wait_migration("pre-switchover", after=mark, timeout=60)
    assert server.qmp.execute("query-status")["status"] == "postmigrate"
    server.qmp.execute("migrate_cancel")
    server.ended(mark, "cancelled")
    there.close()
    assert server.qmp.execute("query-status")["status"] == "running"
    last = guest.healthy()
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    case.keep(there)
    mark = server.migrate(uri)
    server.qmp.wait_migration("pre-switchover", after=mark, timeout=60)
    server.qmp.execute("migrate-continue", state="pre-switchover")
    tell(server.ended(mark, "completed"))
    assert there.told(after=last.number).wrong == 0
    there.healthy()


@test(timeout=240, thorough=True)
def test_killed(case):
    """Ours, in the pause: the guest stands still, and nobody else runs it; another of us lets it go on."""
    guest = xen.booted(case, "survives")
    server = DroverXen(case, "server", "serve", guest.name)
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    case.keep(there)
    server.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "pause-before-switchover", "state": True}])
    mark = server.migrate(uri)
    server.qmp.wait_migration("pre-switchover", after=mark, timeout=60)
    server.process.kill()
    server.process.wait()
    again = DroverXen(case, "again", "serve", guest.name)
    assert again.qmp.execute("query-status")["status"] == "postmigrate"
    again.qmp.execute("cont")
    assert again.qmp.execute("query-status")["running"]
    last = guest.healthy()
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    case.keep(there)
    tell(again.ended(again.migrate(uri), "completed"))
    assert there.told(after=last.number).wrong == 0
    there.healthy()


@test(timeout=120, thorough=True)
def test_refused(case):
    """A destination without a place for its tables, before a page is sent; and what is no migration of a domain."""
    guest = xen.booted(case, "refused")
    server = DroverXen(case, "server", "serve", guest.name)
    there, uri = Outer().destination()
    case.keep(there)
    told = server.qmp.execute("query-migrate-forecast", uri=uri, check=True)
    assert not told["can-go"] and "acpihole" in told["blocks"][0]["remedy"], told
    assert len(told["blocks"]) == 1, told  # its CPU's features are there
    info = server.ended(server.migrate(uri), "failed")
    assert "acpihole" in info["error-desc"], info
    try:
        server.qmp.execute("migrate", uri=f"exec:cat >{case.scratch}/file")
        raise AssertionError("the device model alone was saved")
    except QmpError as error:
        assert "xl save" in error.desc, error
    guest.told(after=guest.told().number + 1)


WAITS = "its device model waits for its state"


def waits(case, guest: xen.XenGuest, *words: str) -> DroverXen:
    return DroverXen(case, "incoming", "incoming", f"tcp:0.0.0.0:{DOOR}", "-config", str(guest.file), *words)


@test(timeout=240, smp=[1, 2])
def test_to_xen(case, smp):
    there = case.keep(Outer().drover_guest(smp=smp))
    here = xen.XenGuest(case, f"comes{smp}", NEUTRAL.but(smp=smp))
    server = waits(case, here)
    before = there.told(after=2)
    there.migrate()
    tell(there.migrated("completed"))
    here.arrived()
    after = here.told(after=before.number)
    assert after.verified > before.verified and after.wrong == 0, (before, after)
    assert server.qmp.execute("query-migrate")["status"] == "completed"
    assert server.qmp.execute("query-status")["status"] == "running"
    said = server.stderr()
    assert 0 < said.find(WAITS) < said.find("→ receiving"), "the device model was started late"
    assert not state_files(), state_files()
    here.healthy()
    assert server.quit() == 0


@test(timeout=240, thorough=True)
def test_to_xen_late(case):
    """Where the device model cannot be started before its state is there, it is started afterwards."""
    there = case.keep(Outer().drover_guest())
    here = xen.XenGuest(case, "late")
    places = [Path(f"/var/run/xen/drover-resume.{number}") for number in range(1, 200)]
    for place in places:
        place.mkdir()
    try:
        server = waits(case, here)
        before = there.told(after=2)
        there.migrate()
        tell(there.migrated("completed"))
    finally:
        for place in places:
            place.rmdir()
    here.arrived()
    assert here.told(after=before.number).wrong == 0
    said = server.stderr()
    assert "starts only in the guest's pause" in said and WAITS not in said
    here.healthy()
    assert server.quit() == 0
    assert not state_files(), state_files()


@test(timeout=240)
def test_the_source_dies(case):
    """Before the commit: nothing is left of the guest here."""
    there = Outer().drover_guest()
    here = xen.XenGuest(case, "orphan")
    server = waits(case, here)
    there.execute("migrate-set-parameters", **{"max-bandwidth": 2 << 20})
    there.migrate()
    there.migrated("active")
    ends = coming(here)
    there.kill()
    assert server.process.wait(60) == 1
    ended(ends)
    nothing_is_left(here.name)


@test(timeout=240)
def test_the_destination_dies(case):
    """Before the commit: xl and the device model, which waits, end, too, and the guest goes on where it was."""
    there = case.keep(Outer().drover_guest())
    here = xen.XenGuest(case, "unborn")
    server = waits(case, here)
    there.execute("migrate-set-parameters", **{"max-bandwidth": 2 << 20})
    there.migrate()
    there.migrated("active")
    ends = coming(here)
    server.process.kill()
    server.process.wait()
    there.migrated("failed")
    ended(ends)
    nothing_is_left(here.name)
    there.healthy()


@test(timeout=240, thorough=True)
def test_taken_back(case):
    """The whole guest is here, paused, and stays there; another moves, and stays paused (-S)."""
    there = case.keep(Outer().drover_guest())
    here = xen.XenGuest(case, "declined")
    server = waits(case, here)
    there.execute("migrate-set-capabilities",
                  capabilities=[{"capability": "pause-before-switchover", "state": True}])
    there.migrate()
    there.migrated("pre-switchover")
    ends = coming(here)
    there.execute("migrate_cancel")
    there.migrated("cancelled")
    assert server.process.wait(60) == 1
    ended(ends)
    nothing_is_left(here.name)
    last = there.healthy()
    there.execute("migrate-set-capabilities",
                  capabilities=[{"capability": "pause-before-switchover", "state": False}])
    (case.scratch / "incoming.qmp.sock").unlink(missing_ok=True)
    here = xen.XenGuest(case, "accepted")  # the device model of the other had its console already
    server = waits(case, here, "-S")
    there.migrate()
    there.migrated("completed")
    here.arrived()
    assert server.qmp.execute("query-status")["status"] == "paused"
    assert here.name in xen.domains()
    subprocess.run(["xl", "unpause", here.name], check=True)
    assert here.told(after=last.number).wrong == 0
    here.healthy()


@test(timeout=300, thorough=True)
def test_there_and_back(case):
    """Its firmware's tables go along."""
    born = xen.booted(case, "leaves")
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    case.keep(there)
    away = DroverXen(case, "server", "serve", born.name)
    before = born.told()
    tell(away.ended(away.migrate(uri), "completed"))
    there.told(after=before.number)
    assert away.quit() == 0
    born.gone()
    back = xen.XenGuest(case, "returns")
    waits(case, back)
    before = there.told()
    there.migrate()
    tell(there.migrated("completed"))
    back.arrived().told(after=before.number)
    back.healthy()
    # It is like any domain of xl's.
    file = case.scratch / "save"
    back.save(file)
    again = xen.XenGuest(case, "restored")
    again.restore(file)
    again.healthy()
    assert DroverXen(case, "again", "serve", again.name).qmp.execute("query-status")["running"]


# Its kernel gives out what lies highest first.
LARGE = {"memory": "3700M", "working_set": "160M", "boot": ("nopv", "drover.tell=1000", "drover.watch=1",
                                                            "drover.verify=4000", "drover.tick=20", "drover.place=1")}
ABOVE_PAGES = 10_000


@test(timeout=900, thorough=True)
def test_large(case):
    """Part of its memory lies beyond 4 GiB, where each of the two hypervisors' machines has it: to Xen and home."""
    born = case.keep(Outer().drover_guest(**LARGE))
    above, below = born.place()
    assert above > ABOVE_PAGES, (above, below)
    abroad = xen.XenGuest(case, "large", NEUTRAL.but(**LARGE))
    server = DroverXen(case, "incoming", "incoming", f"tcp:0.0.0.0:{DOOR}", "-name", abroad.name, "-serial",
                       f"unix:{abroad.console.path}")
    before = born.told(after=1)
    born.migrate()
    tell(born.migrated("completed"))
    abroad.arrived().told(after=before.number)
    last = abroad.healthy()
    assert server.quit() == 0
    home, uri = Outer().destination(**LARGE)
    case.keep(home)
    away = DroverXen(case, "server", "serve", abroad.name)
    tell(away.ended(away.migrate(uri), "completed", timeout=300))
    home.told(after=last.number)
    home.healthy()
    assert away.quit() == 0
    abroad.gone()
