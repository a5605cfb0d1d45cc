# SPDX-License-Identifier: GPL-2.0-or-later
"""The Xen rows of the table in docs/architecture.md ("Where one side is Xen"): each side is held at the moment at which
it has entered a state and told nobody; then somebody dies, or the link breaks. One side has the guest in the end, or an
operator's word is waited for; never two, and no half-made domain stays."""

import os
import signal
import subprocess
from pathlib import Path

from drover_e2e import xen
from drover_e2e.drover_xen import DroverXen
from drover_e2e.outer import DOOR, Outer
from drover_e2e.proxy import Proxy
from drover_e2e.runner import test
from drover_e2e.sync import SyncPoints

BEHIND_THE_PROXY = "tcp:127.0.0.1:4445"
ACTIONS = ("source dies", "drover-xen dies", "xl dies", "link breaks")
# "asks" is who waits, paused, for the operator's word; a row's action that makes no sense is None.
TO_XEN = {
    "destination loading": ("gone, or xen asks", "source", "source", "source"),
    "destination ready": ("xen asks", "source", "source", "source"),
    # xl was told nothing yet.
    "destination taking-over": ("xen", "source asks", "source", "xen"),
    # A domain outlives its drover-xen.
    "destination completed": ("xen", "xen, source asks", None, "xen"),
    # Held is the source: the destination is ready.
    "source committing": ("xen asks", "source asks", "source", "xen"),
}
FROM_XEN_ACTIONS = ("drover-xen dies", "destination dies", "link breaks")
# "nobody" runs a domain that is suspended, until another drover-xen serve lets it go on.
FROM_XEN = {
    "source switching": ("runs on", "xen", "xen"),
    "source loading": ("nobody", "xen", "xen"),
    "source committing": ("there asks", "xen asks", "there"),
}


def rows(table: dict, actions: tuple) -> list[str]:
    return [f"{point}: {action}" for point, outcomes in table.items()
            for action, outcome in zip(actions, outcomes) if outcome]


def flags(name: str) -> str:
    """The state of a domain: running, blocked, paused, shut down (also: suspended), crashed, dying."""
    said = subprocess.run(["xl", "list", name], capture_output=True, check=True, text=True).stdout
    return said.splitlines()[1].split()[4]


def is_paused(name: str) -> bool:
    return flags(name)[2] == "p"


def is_suspended(name: str) -> bool:
    return flags(name)[3] == "s"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


class HeldArrival:
    """A guest on its way to this Xen host; somebody stands at a point."""

    def __init__(self, case, point: str, outcome: str):
        self.case, self.point = case, point
        self.points = case.keep(SyncPoints(f"{case.scratch}/sync"))
        self.at_source = point.startswith("source ")
        asking = {"source asks": "source asking", "xen, source asks": "source asking", "xen asks": "destination asking",
                  "gone, or xen asks": "destination asking"}
        wanted = [point, asking.get(outcome, point)]
        self.source = case.keep(Outer().held_guest(*(each for each in wanted if each.startswith("source "))))
        for each in wanted:
            self.points.hold(each)
        case.keep(self)  # domains that are left when it has failed
        self.here = xen.XenGuest(case, "comes")
        self.proxy = case.keep(Proxy(f"tcp:0.0.0.0:{DOOR}", BEHIND_THE_PROXY))
        self.server = DroverXen(case, "incoming", "incoming", BEHIND_THE_PROXY, "-config", str(self.here.file),
                                env=self.points.env)
        self.last = self.source.told(after=1)
        self.source.migrate()
        if self.at_source:
            self.source.came(point)
        else:
            self.points.wait(point, 90)

    def close(self) -> None:
        for name in xen.domains():
            subprocess.run(["xl", "destroy", name], check=False)
        self.here.gone()

    def let_go(self) -> None:
        (self.source if self.at_source else self.points).let_go(self.point)

    def act(self, action: str) -> None:
        if action == "source dies":
            self.source.kill()
        elif action == "drover-xen dies":
            self.server.process.kill()
            self.server.process.wait()
        elif action == "xl dies":
            (receiver,) = children(self.server.process.pid)
            os.kill(receiver, signal.SIGKILL)
        else:
            self.proxy.interrupt()
        dead = {"source dies": self.at_source, "drover-xen dies": not self.at_source}
        if not dead.get(action, False):
            self.let_go()
        if action == "link breaks":
            self.proxy.called.acquire(timeout=1)  # in vain; then the link is back
            self.proxy.refuses = False

    def check(self, outcome: str) -> None:
        if outcome == "gone, or xen asks":
            try:
                assert self.server.process.wait(15) == 1
                assert not xen.domains()
                return
            except subprocess.TimeoutExpired:
                outcome = "xen asks"
        {"xen": self.runs_here, "xen asks": self.asks_here, "source": self.runs_there,
         "source asks": self.asks_there, "xen, source asks": self.asks_there_in_vain}[outcome]()

    def runs_here(self) -> None:
        self.here.arrived()
        after = self.here.told(after=self.last.number)
        assert after.wrong == 0, after
        self.here.healthy()
        assert xen.domains() == [self.here.name], xen.domains()

    def asks_here(self) -> None:
        """Nobody runs it; then the operator says that it is here."""
        self.points.wait("destination asking")
        self.points.let_go("destination asking")
        self.here.arrived()
        assert is_paused(f"{self.here.name}--incoming")
        self.server.qmp.execute("migrate-resolve", guest__is__here=True)
        self.runs_here()

    def runs_there(self) -> None:
        self.source.migrated("failed")
        last = self.source.told(after=self.last.number)
        assert self.source.told(after=last.number).wrong == 0
        assert not xen.domains(), "a copy of a guest that runs at its source"

    def asks_there(self) -> None:
        self.source.came("source asking")
        self.source.let_go("source asking")
        self.source.execute("migrate-resolve", **{"guest-is-here": True})
        self.runs_there()

    def asks_there_in_vain(self) -> None:
        self.source.came("source asking")
        self.source.let_go("source asking")
        self.runs_here()
        self.source.execute("migrate-resolve", **{"guest-is-here": False})
        self.source.migrated("completed")


@test(timeout=240, row=rows(TO_XEN, ACTIONS), thorough=True)
def test_who_runs_the_guest_that_comes(case, row):
    point, action = row.split(": ")
    outcome = TO_XEN[point][ACTIONS.index(action)]
    held = HeldArrival(case, point, outcome)
    held.act(action)
    held.check(outcome)


class HeldDeparture:
    """A guest that leaves this Xen host; drover-xen stands at a point."""

    def __init__(self, case, point: str, outcome: str):
        self.case, self.point = case, point
        self.points = case.keep(SyncPoints(f"{case.scratch}/sync"))
        self.here = xen.booted(case, "leaves")
        asking = ["destination asking"] if outcome == "there asks" else []
        self.there, uri = Outer().held_destination(*asking, extra=list(xen.PLACE_FOR_TABLES))
        case.keep(self.there)
        self.proxy = case.keep(Proxy(BEHIND_THE_PROXY, uri))
        self.server = DroverXen(case, "server", "serve", self.here.name, env=self.points.env)
        self.points.hold(point)
        if outcome == "xen asks":
            self.points.hold("source asking")
        self.last = self.here.told()
        self.mark = self.server.migrate(BEHIND_THE_PROXY)
        self.points.wait(point, 90)

    def act(self, action: str) -> None:
        if action == "drover-xen dies":
            self.server.process.kill()
            self.server.process.wait()
            return
        if action == "destination dies":
            self.there.kill()
            self.points.let_go(self.point)
            return
        self.proxy.interrupt()
        self.points.let_go(self.point)
        self.proxy.called.acquire(timeout=1)  # in vain; then the link is back
        self.proxy.refuses = False

    def check(self, outcome: str) -> None:
        {"xen": self.goes_on_here, "xen asks": self.asks_here, "there": self.runs_there,
         "there asks": self.asks_there, "nobody": self.stands_still, "runs on": self.runs_on}[outcome]()

    def goes_on_here(self) -> None:
        self.server.ended(self.mark, "failed")
        self.runs_here(self.server)

    def runs_here(self, server: DroverXen) -> None:
        assert server.qmp.execute("query-status")["status"] == "running"
        last = self.here.told(after=self.last.number)
        assert self.here.told(after=last.number).wrong == 0

    def asks_here(self) -> None:
        self.points.wait("source asking")
        self.points.let_go("source asking")
        self.server.qmp.execute("migrate-resolve", guest__is__here=True)
        self.goes_on_here()

    def runs_there(self) -> None:
        self.server.ended(self.mark, "completed")
        assert self.server.qmp.execute("query-status")["status"] == "postmigrate"
        assert self.there.told(after=self.last.number).wrong == 0
        self.there.healthy()

    def asks_there(self) -> None:
        self.there.came("destination asking")
        self.there.let_go("destination asking")
        assert is_suspended(self.here.name)
        self.there.execute("migrate-resolve", **{"guest-is-here": True})
        assert self.there.told(after=self.last.number).wrong == 0
        assert is_suspended(self.here.name)

    def runs_on(self) -> None:
        self.runs_here(DroverXen(self.case, "again", "serve", self.here.name))

    def stands_still(self) -> None:
        """Nobody else can run it once its destination is no more."""
        self.there.kill()
        again = DroverXen(self.case, "again", "serve", self.here.name)
        assert again.qmp.execute("query-status")["status"] == "postmigrate"
        again.qmp.execute("cont")
        self.runs_here(again)


@test(timeout=240, row=rows(FROM_XEN, FROM_XEN_ACTIONS), thorough=True)
def test_who_runs_the_guest_that_leaves(case, row):
    point, action = row.split(": ")
    outcome = FROM_XEN[point][FROM_XEN_ACTIONS.index(action)]
    held = HeldDeparture(case, point, outcome)
    held.act(action)
    held.check(outcome)
