# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves a running guest live between two emulators on this machine and verifies that all is well.

python3 -m drover_e2e.move_demo"""

import os
import sys
import tempfile
import time
from pathlib import Path

from . import analysis, net, paths, picture, ram
from .case import Case, pages_of
from .heartbeat import TCP_STATES
from .progress import Progress
from .tcppeer import TcpPeer
from .vm import GuestOptions, Vm

LINK = 125_000_000  # bytes/s: the migration may use as much as a gigabit link has
ENDS = ("completed", "failed", "cancelled")
GUEST = GuestOptions(memory="512M", working_set="200M", dirty=5000)

_COLOUR = sys.stdout.isatty()


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if _COLOUR else text


def step(text: str) -> None:
    print(paint("1", f"== {text}"), flush=True)


class Verdicts:
    """What was verified, and whether all of it held."""

    def __init__(self):
        self.failed = 0

    def say(self, good: bool, text: str) -> None:
        self.failed += not good
        print(f"  {paint('32', '✓') if good else paint('31', '✗')} {text}")

    def skip(self, text: str) -> None:
        print(f"  {paint('33', '–')} {text}")


def watch(case: Case, source: Vm, mark: int) -> tuple[str, float]:
    """Shows the rounds until the migration ends: how it ended, and when."""
    progress = Progress(source.qmp, ram.allocated(source.pid) // 4096)
    while True:
        try:
            event = source.qmp.wait_migration(*ENDS, timeout=0.05, after=mark)
            progress.update()
            return event.data["status"], event.at
        except TimeoutError:
            progress.update()


def verify(case: Case, destination: Vm, peer: TcpPeer | None, no_tap: str | None, before) -> int:
    verdicts = Verdicts()
    moved = case.beats.last(destination.name)
    case.beats.wait(destination.name, 60, match=lambda b: b.memory_errors > 0 or
                    b.pages_verified - moved.pages_verified >= pages_of(GUEST.working_set))
    last = case.beats.last(destination.name)
    beats = case.beats.between(0, time.monotonic())
    sides = {b.side for b in beats if b.at > last.at - 1}
    verdicts.say(sides == {destination.name}, "the guest runs at the destination, and only there")
    verdicts.say(last.memory_errors == 0,
                 f"memory: all {pages_of(GUEST.working_set):,} pages verified by the guest after the "
                 f"move, {last.memory_errors} wrong")
    verdicts.say(last.disk_errors == 0 and last.disk_blocks > before.disk_blocks,
                 f"disk: {last.disk_blocks:,} blocks written and read back, {last.disk_errors} wrong")
    if peer:
        good = peer.problem is None and peer.connections == 1
        good = good and TCP_STATES[last.tcp_state] == "open" and last.tcp_bytes > before.tcp_bytes
        verdicts.say(good, f"TCP: the same connection, {last.tcp_bytes:,} bytes there and back, "
                     f"{peer.problem or 'all right'}")
    else:
        verdicts.skip(f"TCP connection: not tried here ({no_tap})")
    problems = analysis.problems(beats) + destination.console.corrupt_lines()
    verdicts.say(not problems, f"heartbeats and console: {'; '.join(problems) or 'nothing amiss'}")
    return verdicts.failed


def summary(info: dict, seen: analysis.Handover, seconds: float, before: float,
            during: float) -> None:
    rounds = info["drover"]["rounds"]
    wish = GUEST.policy.split(",")[0].removeprefix("downtime=")
    print(f"""  rounds      {len(rounds)}, tracked by {info['drover']['tracker']}
  bytes       {info['ram']['transferred'] / 1e6:.1f} MB of {info['ram']['total'] / 1e6:.1f} MB of RAM
  total time  {seconds:.2f} s
  downtime    {paint('1', f'{seen.downtime_ms:.1f} ms')} between heartbeats, seen from outside; wished: {wish}
  guest       wrote {before:,.0f} pages/s before, {during:,.0f} during
  decision    {info['drover']['decision']}""")


def save_picture(case: Case, run: picture.Run) -> Path:
    directory = paths.BUILD / "demo"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "migration.svg"
    path.write_text(picture.draw(run), encoding="utf-8")
    return path


def run_demo(case: Case) -> int:
    no_tap = net.why_not()
    options = GUEST.but(disk=case.disk())
    peer = None
    if no_tap is None:
        network = case.tap_network()
        peer = case.tcp_peer(network)
        options = options.but(network=network, tcp=peer.target)

    step("a guest boots: 512 MiB, of which it writes 200 MiB at 5,000 pages/s; disk, network")
    source = case.guest(options, name="source")
    destination = case.destination(options, name="destination", address=case.tcp_address(options))
    settled = case.beats.wait(source.name)
    before = case.beats.wait(source.name, 10, match=lambda b: b.at > settled.at + 1)

    step(f"it moves live over {destination.uri}, at most {LINK // 1_000_000} MB/s")
    source.qmp.execute("migrate-set-parameters", max__bandwidth=LINK)
    start = time.monotonic()
    mark = case.start_migration(source, destination.uri)
    status, end = watch(case, source, mark)
    info = source.qmp.execute("query-migrate")
    if status != "completed":
        print(f"the migration {status}: {info.get('error-desc', '')}\n{source.stderr()}")
        return 1
    case.alive_on(destination, 5)
    seen = analysis.handover(case.beats.between(start, time.monotonic()), "source", "destination")

    step("report")
    summary(info, seen, end - start, analysis.rate(case.beats.between(settled.at, start)),
            analysis.rate(case.beats.between(start, seen.last_there)))
    step("verified")
    failed = verify(case, destination, peer, no_tap, before)
    path = save_picture(case, picture.Run(
        f"A 512 MiB guest moves live: {end - start:.2f} s, stands still for {seen.downtime_ms:.1f} ms",
        start, end, info.get("setup-time", 0) / 1e3, info["drover"]["rounds"],
        case.beats.between(start - 1, end + 1), seen.last_there, seen.first_here))
    print(f"\npicture: {os.path.relpath(path)}")
    return 1 if failed else 0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="drover-demo-") as directory:
        case = Case(Path(directory))
        try:
            return run_demo(case)
        finally:
            case.close()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
