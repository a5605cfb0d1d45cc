# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest moves to and fro between two versions of QEMU, which its state is translated for, and between two of the
same version, in turn: what the translation costs, the first time that a host sees such a machine, and later.

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


def measure(kind: tuple[GuestOptions, GuestOptions], runs: int) -> list[tuple[float, float]]:
    """Downtime and whole migration of so many moves there and back. Nothing is known from earlier guests."""
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    case = Case(directory)
    seen = []
    home, other = kind
    try:
        here = case.vm(home).ready(240)
        case.beats.wait(here.name, 60, match=lambda beat: beat.ready)
        for _ in range(runs):
            for options in (other, home):
                here, downtime, total = move(case, here, options)
                seen.append((downtime, total))
        case.healthy(here)
    finally:
        case.close()
        shutil.rmtree(directory)
    return seen


def medians(seen: list[tuple[float, float]]) -> tuple[float, float]:
    downtimes, totals = zip(*seen)
    return statistics.median(downtimes), statistics.median(totals)


def show(rows: list[dict], as_json: bool) -> None:
    for row in rows:
        print(json.dumps(row) if as_json else
              "{between:23} {moves:3} moves: downtime {downtime_ms:.1f} ms ({downtime_ratio:.2f} of that of one version), "
              "total {total_ms:.0f} ms ({total_ratio:.2f})".format(**row))


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool bench across")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    parser.add_argument("--runs", type=int, default=3, help="guests of each kind, each there and back three times")
    options = parser.parse_args()
    if reason := newer.why_not("qemu"):
        print(f"SKIP: {reason}")
        return 0
    new = GUEST.but(qemu=newer.QEMU)
    # Each version by itself, too: half of the moves to and fro end in the one, half in the other.
    kinds = {"older, older": (GUEST, GUEST), "newer, newer": (new, new), "older, newer": (GUEST, new)}
    seen: dict[str, list] = {name: [] for name in (*kinds, "older, newer, at first")}
    for _ in range(options.runs):
        for name, kind in kinds.items():
            moves = measure(kind, 3)
            if name == "older, newer":  # the first one of each way learns how that QEMU wants its devices
                seen["older, newer, at first"] += moves[:2]
                moves = moves[2:]
            seen[name] += moves
    downtime_of_one, total_of_one = (statistics.mean(pair) for pair in zip(
        medians(seen["older, older"]), medians(seen["newer, newer"])))
    rows = []
    for name, moves in seen.items():
        downtime, total = medians(moves)
        rows.append({"between": name, "moves": len(moves), "downtime_ms": round(downtime, 1),
                     "downtime_ratio": round(downtime / downtime_of_one, 2), "total_ms": total,
                     "total_ratio": round(total / total_of_one, 2)})
    show(rows, options.json)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
