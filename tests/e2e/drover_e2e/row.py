# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that moves from hypervisor to hypervisor, seen from Dom0 of the lab's Xen host; after each move it is
looked at, and its clock is compared with that of the machine that emulates all hosts."""

import json
import statistics
import time
from dataclasses import dataclass

from . import xen
from .case import Case
from .drover_xen import DroverXen
from .outer import ADDRESS, DOOR, Outer
from .vm import GuestOptions
from .watch import FAR_SOURCES, Look

MOVE_S = 240
DRIFT_MS = 50.0  # of a whole row; of each move, where the guest's clock is a device that it looks at
APART_MS = 60.0  # TSC and ACPI timer, by a move: as exactly as an emulated host that is busy can tell


@dataclass
class Move:
    source: str  # the hypervisor that it left
    to: str
    total_ms: int  # as the source tells
    pause_ms: int
    # How much further behind the guest's clock is than before the move. One that counts by the ACPI timer, and does not
    # get to run for half a turn of it, misses a whole one, with a move or without (docs/heterogeneity.md, "The ACPI timer
    # as clock"): without those.
    lost_ms: float
    late_us: int  # how much too late its sleeps end there
    clock: str  # what the guest's kernel reads the time from
    apart_ms: float  # how far its TSC and that moved apart
    turns: int  # how often its clock missed a turn of the ACPI timer since the move before

    @property
    def drift_ms(self) -> float:
        """A guest's clock may stand while the guest does, and may go on meanwhile, but neither longer nor faster."""
        return max(-self.lost_ms, self.lost_ms - self.pause_ms, 0.0)

    def row(self) -> str:
        return f"{self.to}: {self.total_ms / 1000:.1f} s, pause {self.pause_ms} ms, " \
               f"clock {self.lost_ms:.0f} ms behind, sleeps {self.late_us / 1000:.1f} ms late, by {self.clock}" \
               + (f", {self.turns} turns missed" if self.turns else "") \
               + (f", TSC {self.apart_ms:.1f} ms apart" if self.clock in FAR_SOURCES else "")


class ClockOf:
    """time.monotonic() of another machine, read from here."""

    def __init__(self, machine: Outer):
        self._machine = machine

    def ahead(self) -> float:
        """By how many seconds it is ahead of ours: by the fastest of some answers."""
        answers = []
        for _ in range(8):
            before = time.monotonic()
            there = self._machine.clock()
            after = time.monotonic()
            answers.append((after - before, there - (before + after) / 2))
        return min(answers)[1]


class OnQemu:
    """A guest on a machine that knows outer.py's calls; `clock` is the outer machine's."""

    def __init__(self, name: str, machine: Outer, options: dict, clock: ClockOf):
        self.name, self._machine, self._options, self._clock = name, machine, options, clock
        self._guest = None
        self.port = 0

    def boot(self) -> "OnQemu":
        self._guest = self._machine.drover_guest(**self._options)
        return self

    def wait(self) -> "OnQemu":
        """For a guest that comes."""
        self._guest, self.port = self._machine.waiting(**self._options)
        return self

    def arrived(self) -> None:
        pass

    def move_to(self, port: int) -> dict:
        self._guest.migrate(port)
        return self._guest.migrated("completed", "failed")

    def left(self) -> None:
        self._guest.close()

    def told(self, after: int = 0):
        return self._guest.told(after)

    def healthy(self):
        return self._guest.healthy()

    def looked_at(self, after: int) -> Look:
        """`behind_s`: the outer machine's clock."""
        look = self._guest.looked_at(after)
        return look._replace(behind_s=look.behind_s + self._clock.ahead() - ClockOf(self._machine).ahead())

    def close(self) -> None:
        if self._guest:
            self._guest.close()


class OnXen:
    """A guest on this host. `derived`: its configuration follows from what its source says, and so its CPU has only what
    the guest has seen so far."""

    name = "Xen"

    def __init__(self, case: Case, number: int, options: GuestOptions, clock: ClockOf, port: int, derived: bool):
        self._case, self._clock, self.port = case, clock, port
        self._guest = xen.XenGuest(case, f"row{number}", options)
        self._number, self._derived = number, derived
        self._server: DroverXen | None = None

    def wait(self) -> "OnXen":
        words = ("-name", self._guest.name, "-serial", f"unix:{self._guest.console.path}") if self._derived else \
            ("-config", str(self._guest.file))
        self._server = DroverXen(self._case, f"in{self._number}", "incoming", f"tcp:0.0.0.0:{DOOR}", *words)
        return self

    def arrived(self) -> None:
        self._guest.arrived()
        assert self._server.qmp.execute("query-migrate")["status"] == "completed", self._server.stderr()
        assert self._server.quit() == 0
        self._server = DroverXen(self._case, f"out{self._number}", "serve", self._guest.name)

    def move_to(self, port: int) -> dict:
        return self._server.ended(self._server.migrate(f"tcp:{ADDRESS}:{port}"), "completed", "failed",
                                  timeout=MOVE_S)

    def left(self) -> None:
        assert self._server.quit() == 0
        self._guest.gone()

    def told(self, after: int = 0):
        return self._guest.told(after)

    def healthy(self):
        return self._guest.healthy()

    def looked_at(self, after: int) -> Look:
        look = self._guest.looked_at(after)
        return look._replace(behind_s=look.behind_s + self._clock.ahead())

    def close(self) -> None:
        """Nobody came."""
        self._server.close()


def move(here, there, before: Look) -> tuple[Move | None, Look]:
    """From where it is to where somebody waits; fails if anything of it is not as it was. How it was when it was last
    looked at, and is afterwards. No move: it is well where it was."""
    last = here.told()
    info = here.move_to(there.port)
    if info["status"] != "completed":
        print("TOLD not moved:", info.get("error-desc"))
        there.close()
        return None, here.looked_at(here.healthy().number)
    there.arrived()
    after = there.told(last.number)
    assert after.verified >= last.verified and after.wrong == 0, (last, after)
    here.left()
    there.healthy()
    now = there.looked_at(after.number)
    return Move(here.name, there.name, info["total-time"], info["downtime"], (now.behind_s - before.behind_s) * 1000, now.late_us,
                now.source, now.apart_us / 1000, now.turns - before.turns), now


@dataclass
class Row:
    """Moves of one guest. `places` wait for it in turn: a function each, which gets a number and gives an OnQemu or
    OnXen that waits."""

    moves: list[Move]
    not_moved: int = 0

    def tell(self) -> None:
        for number, done in enumerate(self.moves, 1):
            print(f"TOLD {number:2}. {done.row()}")
        print("TOLD " + json.dumps({
            "moves": len(self.moves), "not-moved": self.not_moved, "lost": 0,
            "pauses-ms": sum(done.pause_ms for done in self.moves), "behind-ms": round(sum(done.lost_ms for done in self.moves)),
            "drift-ms": round(self.drift_ms), "turns-missed": sum(done.turns for done in self.moves),
            "median-pause-ms": self.medians("pause_ms"), "median-total-ms": self.medians("total_ms")}))

    @property
    def drift_ms(self) -> float:
        return sum(done.drift_ms for done in self.moves)

    def medians(self, what: str) -> dict:
        """By the way that was taken."""
        ways = {(done.source, done.to) for done in self.moves}
        return {f"{source} to {to}": statistics.median(getattr(done, what) for done in self.moves
                                                       if (done.source, done.to) == (source, to))
                for source, to in sorted(ways)}


def run(here, places: list, count: int, most_not_moved: int = 3) -> Row:
    """`here` runs it; places[0] is where it is moved first. A failed try's pause is no move's, and is not held against
    the drift: what it took is in the clock as it is before the next try."""
    row = Row([])
    look = here.looked_at(here.told(2).number)
    number = 0
    while len(row.moves) < count:
        there = places[len(row.moves) % len(places)](number)
        number += 1
        done, look = move(here, there, look)
        if done:
            row.moves.append(done)
            here = there
            continue
        row.not_moved += 1
        assert row.not_moved <= most_not_moved, row
    row.tell()
    far = [done for done in row.moves if done.clock in FAR_SOURCES]
    assert row.drift_ms <= DRIFT_MS * max(len(far), 1), row
    assert all(done.apart_ms <= APART_MS for done in far), row
    return row
