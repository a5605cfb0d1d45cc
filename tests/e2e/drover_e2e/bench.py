# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrates the same guest by Drover and by stock QEMU in turn, over the same link.

python3 -m drover_e2e.bench [--json] [--runs N] [--case NAME]… [--engine NAME]…"""

import argparse
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import analysis, cpu_time, net, paths, report
from .case import Case
from .memory import nonzero_bytes
from .qmp import Qmp
from .vm import GuestOptions, Vm

GIVE_UP_S = 60.0
WARM_UP_S = 2.0
NO_LIMIT = 10_000_000_000  # bytes/s for max-bandwidth: far above any link here
PORT = 4444
GUEST = GuestOptions(memory="512M", working_set="200M", policy="downtime=50ms,deadline=60s,max-slowdown=50")

RANDOM = GUEST.but(dirty=2000, pattern="random-content")  # no encoding makes it less
FULL = GUEST.but(memory="4G", working_set="3500M", dirty=1000)
ASK_EVERY_S = 0.01


@dataclass(frozen=True)
class BenchCase:
    name: str
    guest: GuestOptions
    link: int | None = None  # bytes/s
    large: bool = False  # only by name: it takes its time, and much memory


@dataclass(frozen=True)
class Engine:
    name: str
    capabilities: tuple[str, ...] = ()  # set on both sides
    parameters: tuple[tuple[str, int | str], ...] = ()  # set on both sides
    by_name: bool = False  # only if asked for

    @property
    def emulator(self) -> str:
        return paths.DROVER if self.name.startswith("drover") else paths.QEMU


CASES = [
    BenchCase("idle", GUEST.but(pattern="idle", dirty=0)),
    BenchCase("5k-unlimited", GUEST.but(dirty=5000)),
    BenchCase("5k-125MB", GUEST.but(dirty=5000), 125_000_000),
    BenchCase("20k-62MB", GUEST.but(dirty=20000, pattern="small-changes"), 62_500_000),
    BenchCase("20k-62MB-random", GUEST.but(dirty=20000, pattern="random-content"), 62_500_000),
    BenchCase("4g-sparse", GUEST.but(dirty=5000, memory="4G")),
    BenchCase("4g-full", FULL, large=True),
    BenchCase("4g-balloon", FULL.but(extra=("-device", "virtio-balloon-pci")), large=True),
    BenchCase("8g-5g", GUEST.but(memory="8G", working_set="5G", dirty=1000), large=True),
    BenchCase("4g-unlimited", RANDOM.but(memory="4G", working_set="2500M"), large=True),
    BenchCase("8g-unlimited", RANDOM.but(memory="8G", working_set="5G"), large=True),
    BenchCase("16g", GUEST.but(memory="16G", working_set="1G", dirty=1000), large=True),
]
ENGINES = [
    Engine("drover"),
    # Neither compression nor deltas: what they gain, and that they cost nothing on a fast link.
    Engine("drover-plain", (), (("multifd-compression", "none"), ("xbzrle-cache-size", 4096)), by_name=True),
    Engine("qemu"),
    Engine("qemu-multifd", ("multifd",), (("multifd-channels", 2),)),
    Engine("qemu-autoconverge", ("auto-converge",)),
    Engine("qemu-xbzrle", ("xbzrle", "auto-converge"), (("xbzrle-cache-size", 256 << 20),)),
]


class Link:
    """Two namespaces with a real limit where we may make them; else the engines limit themselves."""

    def __init__(self, limit: int | None, real: bool):
        self.limit = limit
        self._real = net.LimitedLink(limit) if real else None
        self.source = self._real.source if real else net.Namespace.host()
        self.destination = self._real.destination if real else net.Namespace.host()
        self.max_bandwidth = NO_LIMIT if real or limit is None else limit
        host = net.LimitedLink.ADDRESSES[1] if real else "127.0.0.1"
        self.uri = f"tcp:{host}:{PORT}"

    def bytes_sent(self) -> int | None:
        return self._real.bytes_sent() if self._real else None

    def close(self) -> None:
        if self._real:
            self._real.close()


class Asker:
    """A client that asks how it goes, again and again: how long it waits at most for an answer says how
    long anything kept the emulator's main loop."""

    def __init__(self, path: Path):
        self._qmp = Qmp.connect(path)
        self._over = threading.Event()
        self.longest = 0.0
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.wait(ASK_EVERY_S):
            asked = time.monotonic()
            self._qmp.execute("query-migrate")
            self.longest = max(self.longest, time.monotonic() - asked)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._qmp.close()


def configure(vm: Vm, engine: Engine, link: Link) -> None:
    vm.qmp.execute("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": True} for name in ("events", *engine.capabilities)])
    vm.qmp.execute("migrate-set-parameters", max__bandwidth=link.max_bandwidth,
                   **{name.replace("-", "__"): value for name, value in engine.parameters})
    if not engine.name.startswith("drover"):
        vm.qmp.execute("migrate-set-parameters", downtime__limit=50)


def start_pair(case: Case, bench: BenchCase, engine: Engine, link: Link) -> tuple[Vm, Vm]:
    monitor = ("-qmp", f"unix:{case.scratch}/asker,server=on,wait=off")
    source = case.vm(bench.guest.but(extra=bench.guest.extra + monitor), "source", namespace=link.source).ready(180)
    case.beats.wait(source.name, 20, match=lambda beat: beat.ready)
    destination = case.vm(bench.guest, "destination", namespace=link.destination,
                          incoming="defer")
    destination.qmp.negotiate()
    for vm in (source, destination):
        configure(vm, engine, link)
    destination.qmp.execute("migrate-incoming", uri=link.uri)
    return source, destination


def wait_end(source: Vm, mark: int) -> str:
    """How it ended: completed, failed, or cancelled because it would not converge."""
    ends = ("completed", "failed", "cancelled")
    try:
        event = source.qmp.wait_migration(*ends, timeout=GIVE_UP_S, after=mark)
    except TimeoutError:
        source.qmp.execute("migrate_cancel")
        event = source.qmp.wait_migration(*ends, timeout=30, after=mark)
    if event.data["status"] == "failed":
        raise RuntimeError(f"the migration failed: {source.qmp.execute('query-migrate')}; "
                           f"{source.stderr()}")
    return event.data["status"]


def cpu_seconds(*vms: Vm) -> float:
    """Of the migration's own so far, both sides together."""
    return sum(cpu_time.besides_vcpus(vm.pid, vm.drover_pid() if paths.is_drover(vm.emulator) else vm.pid) for vm in vms)


def encodings(info: dict) -> dict[str, float]:
    """The part of the pages that went in each encoding, in percent."""
    if "encodings" in info.get("drover", {}):
        return {name: round(entry["share"], 2) for name, entry in info["drover"]["encodings"].items()}
    ram = info.get("ram", {})
    pages = {"zero": ram.get("duplicate", 0), "delta": info.get("xbzrle-cache", {}).get("pages", 0),
             "raw": ram.get("normal", 0)}
    whole = max(sum(pages.values()), 1)
    return {name: round(count / whole * 100, 2) for name, count in pages.items()}


def measure(case: Case, bench: BenchCase, engine: Engine, link: Link) -> dict:
    source, destination = start_pair(case, bench, engine, link)
    warm = case.beats.wait(source.name)
    case.beats.wait(source.name, 10, match=lambda beat: beat.at - warm.at >= WARM_UP_S)
    sent_before = link.bytes_sent()
    asker = Asker(case.scratch / "asker")
    cpu_before = cpu_seconds(source, destination)
    start = time.monotonic()
    mark = source.qmp.mark()
    source.qmp.execute("migrate", uri=link.uri)
    status = wait_end(source, mark)
    asker.close()
    cpu_s = cpu_seconds(source, destination) - cpu_before
    end = source.qmp.events[-1].at if status != "completed" else next(
        e.at for e in source.qmp.events[mark:] if e.data.get("status") == "completed")
    info = source.qmp.execute("query-migrate")
    sent = info.get("ram", {}).get("transferred", 0)
    if sent_before is not None:
        sent = link.bytes_sent() - sent_before
    result = {"case": bench.name, "engine": engine.name, "converged": status == "completed",
              "total_s": end - start, "bytes": sent, "downtime_ms": None, "answer_ms": asker.longest * 1e3,
              "cpu_s": cpu_s, "encodings": encodings(info),
              "rate_before": analysis.rate(case.beats.between(warm.at, start, source.name))}
    last = end
    if status == "completed":
        first = case.beats.wait(destination.name, 10, after=start)
        case.alive_on(destination, 5)
        seen = analysis.handover(case.beats.between(start, first.at + 1), "source", "destination")
        if seen.overlap:
            raise RuntimeError(f"both sides ran: {seen}")
        result["downtime_ms"] = seen.downtime_ms
        last = seen.last_there
    result["rate_during"] = analysis.rate(case.beats.between(start, last, source.name))
    result["throughput_ratio"] = result["rate_during"] / result["rate_before"] if result["rate_before"] else None
    result["unique_bytes"] = nonzero_bytes(source.pid, bench.guest.memory)
    problems = analysis.problems(case.beats.between(0, time.monotonic()))
    if problems:
        raise RuntimeError(f"the guest was harmed: {problems}")
    result["floor_s"] = result["unique_bytes"] / link.limit if link.limit else 0.0
    return result


def run_once(bench: BenchCase, engine: Engine, real_link: bool) -> dict:
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    link = Link(bench.link, real_link)
    case = Case(directory, engine.emulator)
    try:
        return measure(case, bench, engine, link)
    finally:
        case.close()
        link.close()
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_matrix(cases: list[BenchCase], engines: list[Engine], runs: int, real: bool) -> list[dict]:
    """Engines take turns, so that a machine that gets slower meanwhile slows all of them."""
    results = []
    for bench in cases:
        rows: dict[str, list[dict]] = {engine.name: [] for engine in engines}
        for number in range(runs):
            for engine in engines:
                done = rows[engine.name]
                if len(done) >= 2 and not any(row["converged"] for row in done):
                    continue  # it will not converge the third time either
                row = run_once(bench, engine, real)
                done.append(row)
                note(f"{bench.name} {engine.name} {number + 1}/{runs}: {report.one_line(row)}")
        results += [report.median_row(rows[engine.name]) for engine in engines]
    return results


def parse_arguments():
    parser = argparse.ArgumentParser(prog="devtool bench migrate")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    parser.add_argument("--runs", type=int, default=3, help="of each engine in each case")
    parser.add_argument("--case", action="append", choices=[c.name for c in CASES])
    parser.add_argument("--engine", action="append", choices=[e.name for e in ENGINES])
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    cases = [c for c in CASES if c.name in options.case] if options.case else [c for c in CASES if not c.large]
    engines = [e for e in ENGINES if (e.name in options.engine if options.engine else not e.by_name)]
    reason = net.why_not()
    how = ("a veth pair between two network namespaces, limited by tc tbf" if reason is None else
           f"max-bandwidth of either engine ({reason})")
    note(f"link: {how}")
    results = run_matrix(cases, engines, options.runs, reason is None)
    if options.json:
        report.print_json(results)
    else:
        report.print_table(results, how)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
