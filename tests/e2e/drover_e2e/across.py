# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest moves to and fro between two versions of QEMU, which its state is translated for, and between two of the
same version, in turn: what the translation costs.

python3 -m drover_e2e.across [--json] [--runs N]"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from . import newer, paths
from .case import Case
from .vm import GuestOptions

GUEST = GuestOptions(machine="microvm", smp=2, memory="256M", working_set="64M", dirty=1000)


def move(case: Case, here, options: GuestOptions) -> tuple:
    """Where it is then; how long it stood as seen outside, and the whole migration by the source, in ms."""
    there = case.destination(options)
    seen = case.migrate(here, there, within=10)
    total = here.qmp.execute("query-migrate")["total-time"]
    here.stop()
    return there, seen.downtime_ms, total


def measure(other: GuestOptions, runs: int) -> tuple[list[float], list[float]]:
    """Of so many moves there and back."""
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    case = Case(directory)
    downtimes, totals = [], []
    try:
        here = case.vm(GUEST).ready(240)
        case.beats.wait(here.name, 60, match=lambda beat: beat.ready)
        for _ in range(runs):
            for options in (other, GUEST):
                here, downtime, total = move(case, here, options)
                downtimes.append(downtime)
                totals.append(total)
        case.healthy(here)
    finally:
        case.close()
        shutil.rmtree(directory)
    return downtimes, totals


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool bench across")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    parser.add_argument("--runs", type=int, default=3, help="guests of each kind, each there and back three times")
    options = parser.parse_args()
    if reason := newer.why_not("qemu"):
        print(f"SKIP: {reason}")
        return 0
    kinds = {"same version": GUEST, "another version": GUEST.but(qemu=newer.QEMU)}
    seen: dict[str, tuple[list, list]] = {name: ([], []) for name in kinds}
    for _ in range(options.runs):
        for name, other in kinds.items():
            for kept, new in zip(seen[name], measure(other, 3)):
                kept += new
    for name, (downtimes, totals) in seen.items():
        row = {"to": name, "moves": len(totals), "downtime_ms": round(statistics.median(downtimes), 1),
               "total_ms": statistics.median(totals)}
        print(json.dumps(row) if options.json else "{to:16} {moves:3} moves: downtime {downtime_ms} ms, total {total_ms:.0f} ms "
              "(medians)".format(**row))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
