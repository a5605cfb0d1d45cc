# SPDX-License-Identifier: GPL-2.0-or-later
"""What Drover costs a guest that does not migrate: the same guest writes memory as fast as it can,
under stock QEMU and under Drover in turn.

python3 -m drover_e2e.cost [--json] [--runs N]"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from . import analysis, paths
from .case import Case
from .vm import GuestOptions, Vm

WINDOW = 2.0  # seconds
SETTLE = 0.2  # seconds of each window that do not count
# More pages a second than any guest can write: it is never idle.
GUEST = GuestOptions(memory="512M", working_set="200M", dirty=50_000_000)


def window(case: Case, guest: Vm) -> float:
    """Pages written a second, while the other guest stands still."""
    guest.qmp.execute("cont")
    start = case.beats.wait(guest.name, 30).at + SETTLE
    first = case.beats.wait(guest.name, 30, after=start)
    last = case.beats.wait(guest.name, 60, after=start, match=lambda b: b.at - first.at >= WINDOW)
    guest.qmp.execute("stop")
    guest.qmp.wait_event("STOP")
    return analysis.rate(case.beats.between(first.at, last.at, guest.name))


def measure(case: Case, turns: int) -> list[tuple[float, float]]:
    """Both guests live at once and run in turn, a second each, so that a machine that gets slower
    meanwhile slows both."""
    guests = []
    for engine, emulator in (("qemu", paths.QEMU), ("drover", paths.DROVER)):
        guests.append(case.guest(GUEST, name=engine, emulator=emulator))
        guests[-1].qmp.execute("stop")
    pairs = []
    for turn in range(turns):
        order = guests if turn % 2 == 0 else guests[::-1]
        rates = {guest.name: window(case, guest) for guest in order}
        pairs.append((rates["qemu"], rates["drover"]))
        print(f"{turn + 1}/{turns}: stock QEMU {pairs[-1][0]:,.0f}, Drover {pairs[-1][1]:,.0f} "
              "pages/s", file=sys.stderr, flush=True)
    return pairs


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool bench cost")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=21)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drover-cost-") as directory:
        case = Case(Path(directory))
        try:
            pairs = measure(case, options.runs)
        finally:
            case.close()
    qemu, drover = (statistics.median(values) for values in zip(*pairs))
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    if options.json:
        print(json.dumps({"case": "cost", "runs": options.runs, "qemu": qemu, "drover": drover,
                          "ratio": ratio}))
    else:
        print(f"stock QEMU {qemu:,.0f} pages/s, Drover {drover:,.0f} pages/s; median of the ratios "
              f"of {options.runs} pairs: {(ratio - 1) * 100:+.1f} %")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
