# SPDX-License-Identifier: GPL-2.0-or-later
"""Foretells the migrations of ten real guests over real links, makes them, and compares.

python3 -m drover_e2e.forecast [--json] [--case NAME]…"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from . import net, paths
from .bench import ENGINES, GUEST, BenchCase, Link, note, start_pair, wait_end
from .case import Case

MB = 1_000_000
POSTCOPY = "downtime=100ms,on-stall=postcopy"
CASES = [
    BenchCase("idle", GUEST.but(pattern="idle", dirty=0), 125 * MB),
    BenchCase("1k-25MB", GUEST.but(dirty=1000, working_set="50M"), 25 * MB),
    BenchCase("2k-125MB", GUEST.but(dirty=2000), 125 * MB),
    BenchCase("5k-125MB", GUEST.but(dirty=5000), 125 * MB),
    BenchCase("5k-125MB-sweep", GUEST.but(dirty=5000, pattern="sweep"), 125 * MB),
    BenchCase("10k-125MB", GUEST.but(dirty=10000, pattern="random-content"), 125 * MB),
    BenchCase("4g-125MB", GUEST.but(dirty=5000, memory="4G"), 125 * MB),
    BenchCase("20k-62MB", GUEST.but(dirty=20000, pattern="small-changes"), 62_500_000),
    BenchCase("20k-62MB-random", GUEST.but(dirty=20000, pattern="random-content"), 62_500_000),
    BenchCase("20k-62MB-postcopy", GUEST.but(dirty=20000, policy=POSTCOPY), 62_500_000),
]
WARM_UP_S = 2.0
TOTAL_WITHIN = 0.2
DOWNTIME_WITHIN = 0.25
DOWNTIME_WITHIN_S = 0.005


def way_taken(info: dict) -> str:
    if info["drover"]["postcopy"]:
        return "postcopy"
    return "slowed" if info["drover"]["worst-slowdown"] > 0 else "precopy"


def compare(bench: BenchCase, forecast: dict, info: dict) -> dict:
    taken = way_taken(info)
    way = next(way for way in forecast["ways"] if way["way"] == taken)
    total, downtime = info["drover"]["total"], info["drover"]["downtime"]
    foretold, foretold_downtime = way["total"]["expected"], way["downtime"]["expected"]
    error = abs(foretold - total) / total
    downtime_error = abs(foretold_downtime - downtime)
    return {"case": bench.name, "way": taken, "total_s": total, "foretold_total_s": foretold,
            "downtime_ms": downtime * 1e3, "foretold_downtime_ms": foretold_downtime * 1e3,
            "link_MB_s": forecast["bandwidth"] / MB,
            "total_kept": error <= TOTAL_WITHIN,
            "downtime_kept": downtime_error <= max(DOWNTIME_WITHIN * downtime, DOWNTIME_WITHIN_S)}


def run_once(bench: BenchCase, real: bool) -> dict:
    directory = Path(tempfile.mkdtemp(prefix="drover-forecast-"))
    link = Link(bench.link, real)
    case = Case(directory, paths.DROVER)
    try:
        source, _ = start_pair(case, bench, ENGINES[0], link)
        warm = case.beats.wait(source.name)
        case.beats.wait(source.name, 10, match=lambda beat: beat.at - warm.at >= WARM_UP_S)
        forecast = source.qmp.execute("query-migrate-forecast", uri=link.uri)
        mark = source.qmp.mark()
        source.qmp.execute("migrate", uri=link.uri)
        if wait_end(source, mark) != "completed":
            raise RuntimeError(f"{bench.name}: {source.qmp.execute('query-migrate')}")
        return compare(bench, forecast, source.qmp.execute("query-migrate"))
    finally:
        case.close()
        link.close()
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def show(row: dict) -> str:
    marks = " ".join(name if row[f"{name}_kept"] else f"{name.upper()} MISSED"
                     for name in ("total", "downtime"))
    return (f"{row['case']:18} {row['way']:9} total {row['total_s']:6.2f} s, foretold "
            f"{row['foretold_total_s']:6.2f}; downtime {row['downtime_ms']:5.1f} ms, foretold "
            f"{row['foretold_downtime_ms']:5.1f}; link {row['link_MB_s']:.0f} MB/s  {marks}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool bench forecast")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--case", action="append", choices=[c.name for c in CASES])
    options = parser.parse_args()
    cases = [c for c in CASES if not options.case or c.name in options.case]
    rows = []
    for bench in cases:
        rows.append(run_once(bench, net.why_not() is None))
        print(json.dumps(rows[-1]) if options.json else show(rows[-1]), flush=True)
    kept = sum(row["total_kept"] and row["downtime_kept"] for row in rows)
    note(f"{kept} of {len(rows)} came true: total within 20 %, downtime within 25 % or 5 ms")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
