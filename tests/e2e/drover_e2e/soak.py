# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations in a row of ten kinds of guest, by Drover and by stock QEMU in turn; after each the guest must be
whole: one copy, no wrong page, no wrong block, its heart beats on. How long it stood is seen from outside.

python3 -m drover_e2e.soak [--migrations N] [--json] [--engine NAME] [--kind NAME]…"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from . import analysis, paths
from .case import Case
from .vm import GuestOptions, Vm

IN_A_ROW = 10  # migrations of one guest to and fro, before another boots
GUEST = GuestOptions(memory="256M", working_set="64M", dirty=2000, policy="downtime=50ms,deadline=60s")
MEMFD = ("-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-numa", "node,memdev=mem")
BALLOON = ("-device", "virtio-balloon-pci,id=balloon0,free-page-reporting=on")


@dataclass(frozen=True)
class Kind:
    name: str
    guest: GuestOptions
    disk: bool = False
    paused: bool = False
    postcopy: bool = False
    channels: int = 0
    max_bandwidth: int = 0  # bytes/s


KINDS = [
    Kind("pc", GUEST.but(machine="pc")),
    Kind("q35", GUEST.but(machine="q35")),
    Kind("microvm", GUEST.but(machine="microvm")),
    Kind("smp", GUEST.but(smp=2)),
    Kind("disk", GUEST, disk=True),
    Kind("balloon", GUEST.but(extra=BALLOON)),
    Kind("paused", GUEST, disk=True, paused=True),
    Kind("busy", GUEST.but(dirty=20000)),
    Kind("postcopy", GUEST.but(dirty=5000), postcopy=True, max_bandwidth=40_000_000),
    Kind("memfd", GUEST.but(extra=MEMFD), channels=4),
]
ENGINES = {"drover": paths.DROVER, "qemu": paths.QEMU}


@dataclass
class Tally:
    """What became of one engine's migrations of one kind."""

    kind: str
    engine: str
    migrations: int = 0
    harmed: int = 0  # the guest was lost, doubled, or found a wrong page or block
    not_started: int = 0  # guests that did not boot, which says nothing of migrations
    not_moved: int = 0  # the migration failed or did not end, and the guest ran on
    downtimes_ms: list[float] = field(default_factory=list)

    def row(self) -> dict:
        times = sorted(self.downtimes_ms)
        return {"kind": self.kind, "engine": self.engine, "migrations": self.migrations, "harmed": self.harmed,
                "not-moved": self.not_moved, "not-started": self.not_started, "median-ms": round(statistics.median(times), 1) if times else None,
                "p99-ms": round(percentile(times, 99), 1) if times else None}


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that so many of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class NotMoved(Exception):
    """A migration that failed; its guest runs on at the source."""


def set_up(vm: Vm, kind: Kind) -> None:
    if kind.postcopy:
        vm.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "postcopy-ram", "state": True}])
    if kind.channels:
        vm.qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
        vm.qmp.execute("migrate-set-parameters", multifd__channels=kind.channels)
    if kind.max_bandwidth:
        vm.qmp.execute("migrate-set-parameters", max__bandwidth=kind.max_bandwidth)


def destination_of(case: Case, options: GuestOptions, kind: Kind) -> Vm:
    """As Case.destination(), with what must be set before it listens."""
    vm = case.vm(options, incoming="defer")
    vm.qmp.negotiate()
    vm.uri = f"unix:{case.scratch}/{vm.name}.migrate"
    set_up(vm, kind)
    vm.qmp.execute("migrate-incoming", uri=vm.uri)
    return vm


def end_migration(case: Case, source: Vm, mark: int, kind: Kind) -> None:
    if kind.postcopy:
        source.qmp.wait_migration("active", after=mark)
        source.qmp.execute("migrate-start-postcopy")
    try:
        event = source.qmp.wait_migration("completed", "failed", "cancelled", timeout=120, after=mark)
    except TimeoutError:
        source.qmp.execute("migrate_cancel")
        event = source.qmp.wait_migration("completed", "failed", "cancelled", timeout=30, after=mark)
    if event.data["status"] != "completed":
        case.alive_on(source, 5)
        raise NotMoved(str(source.qmp.execute("query-migrate")))


def move(case: Case, source: Vm, destination: Vm, kind: Kind) -> float | None:
    """One migration, verified. The result is how long the guest stood, in ms, if it was to run."""
    started = time.monotonic()
    if kind.paused:
        case.beats.wait(source.name)
        source.qmp.execute("stop")
    mark = case.start_migration(source, destination.uri)
    end_migration(case, source, mark, kind)
    if kind.paused:
        assert destination.qmp.execute("query-status")["running"] is False
        case.same_ram(source, destination)
        destination.qmp.execute("cont")
    case.alive_on(destination, 10)
    seen = analysis.handover(case.beats.between(started, time.monotonic()), source.name, destination.name)
    assert seen.overlap == 0, f"both sides ran: {seen}"
    source.stop()
    case.healthy(destination)
    return None if kind.paused else seen.downtime_ms


def move_to_and_fro(kind: Kind, engine: str, count: int, tally: Tally, told) -> None:
    """One guest, moved to and fro `count` times, or until it comes to harm."""
    directory = Path(tempfile.mkdtemp(prefix="drover-soak-"))
    case = Case(directory, ENGINES[engine])
    options = kind.guest.but(disk=case.disk()) if kind.disk else kind.guest
    started, harmed = False, True
    try:
        there = case.guest(options)
        started = True
        set_up(there, kind)
        for _ in range(count):
            here = destination_of(case, options, kind)
            tally.migrations += 1
            downtime = move(case, there, here, kind)
            if downtime is not None:
                tally.downtimes_ms.append(downtime)
            there = here
        harmed = False
    except NotMoved as error:
        tally.not_moved += 1
        told(f"{kind.name}, {engine}: not moved: {error}")
    except Exception:  # whatever it is: the guest was not seen whole
        tally.harmed += started
        tally.not_started += not started
        told(f"{kind.name}, {engine}: {traceback.format_exc(limit=-3)}{case.last_words()}")
    finally:
        case.close()
        if harmed:
            kept = paths.BUILD / "soak" / f"{kind.name}-{engine}-{int(time.time())}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(directory, kept)
            told(f"its logs: {kept}")
        else:
            shutil.rmtree(directory)


def run(kinds: list[Kind], engines: list[str], migrations: int, told) -> list[Tally]:
    """Kinds and engines take turns, so that all see the same machine."""
    tallies = {(kind.name, engine): Tally(kind.name, engine) for kind in kinds for engine in engines}
    each = -(-migrations // len(kinds))
    for _ in range(each):  # at least one of each in a turn, unless its guest did not start
        for kind in kinds:
            for engine in engines:
                tally = tallies[kind.name, engine]
                if tally.migrations >= each:
                    continue
                move_to_and_fro(kind, engine, min(IN_A_ROW, each - tally.migrations), tally, told)
                told(f"{kind.name}, {engine}: {tally.row()}")
    return list(tallies.values())


def total(tallies: list[Tally], engine: str) -> Tally:
    result = Tally("all", engine)
    for tally in tallies:
        if tally.engine == engine:
            result.migrations += tally.migrations
            result.harmed += tally.harmed
            result.not_moved += tally.not_moved
            result.not_started += tally.not_started
            result.downtimes_ms += tally.downtimes_ms
    return result


def print_table(rows: list[dict]) -> None:
    heads = list(rows[0])
    cells = [heads] + [["-" if row[head] is None else str(row[head]) for head in heads] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    for line in cells:
        print("  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))))


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool soak")
    parser.add_argument("--migrations", type=int, default=100, help="of each engine, over all kinds")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    parser.add_argument("--engine", action="append", choices=list(ENGINES))
    parser.add_argument("--kind", action="append", choices=[kind.name for kind in KINDS])
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if not options.kind or kind.name in options.kind]
    engines = options.engine or list(ENGINES)

    def told(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    tallies = run(kinds, engines, options.migrations, told)
    tallies += [total(tallies, engine) for engine in engines]
    rows = [tally.row() for tally in tallies]
    if options.json:
        for row in rows:
            print(json.dumps(row))
    else:
        print_table(rows)
    return 1 if any(tally.harmed for tally in tallies if tally.engine == "drover") else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
