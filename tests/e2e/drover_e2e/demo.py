# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts on this machine, guests on them, one host driven hot: the balancer finds it, says what it
will do, moves a guest live, and the host cools.

python3 -m drover_e2e.demo [--hosts N] [--hotspot cpu|bandwidth|swap] [--persistence S] [--json]"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, field, replace

from . import fleet_picture, net, paths, swap
from .fleet import SINK, SINK_PORT, Control, Fleet, Guest, Slice

SHIPPED_PERSISTENCE = 30  # seconds, of the balancer's defaults
WANTED = 14.0  # seconds until the hotspot is over, beside those that it must persist to be one, and to be none any more
LIMIT = 84.0  # likewise: then the demo gives up
CALM = 15.0  # seconds that the balancer watches before the load comes
MIB = 1 << 20


def paint(code: str, text: str, out) -> str:
    return f"\033[{code}m{text}\033[0m" if out.isatty() else text


@dataclass
class Story:
    """What happened, in seconds since the load began; absent: it did not."""

    hotspot: str
    kinds: set = field(default_factory=set)
    found: float | None = None
    cause: str = ""
    of_kind: bool = False  # `cause` is of the kind that was to come
    began: float | None = None
    moved: float | None = None
    cooled: float | None = None
    vm: str = ""
    source: str = ""
    target: str = ""
    why: str = ""
    against: list = field(default_factory=list)  # what spoke against a move for a while
    downtime: float = 0
    samples: list = field(default_factory=list)  # (seconds, {host: parts of one})


@dataclass(frozen=True)
class Scenario:
    name: str
    words: str
    kind: str  # the hotspot that is to come
    slices: Slice
    memory: str = "128M"
    expected: int = 0
    needs_swap: bool = False
    other_memory: str = ""  # of the other hosts' slices, if it is another

    def drive(self, controls: dict[str, Control]) -> None:
        """The load on h1's two guests; those of the other hosts do little."""
        for name, control in controls.items():
            hot = name in ("web1", "web2")
            if self.name == "cpu":
                control.tell(f"cpu {60 if hot else 0}")
            elif self.name == "bandwidth":
                rate = {"web1": 3_500_000, "web2": 3_500_000}.get(name, 100_000)
                control.tell(f"net {SINK}:{SINK_PORT} {rate}")
            elif hot:
                control.tell(f"memory {200 * MIB}")


SCENARIOS = {
    "cpu": Scenario("cpu", "both guests of h1 begin to compute, more than its slice of the processor has",
                    "host-cpu", Slice(cores=1.2, memory="1GiB", link=20_000_000)),
    "bandwidth": Scenario("bandwidth", "both guests of h1 begin to send, more than its uplink carries; "
                          "web1 was promised 3 MB/s", "vm-bandwidth",
                          Slice(cores=1.5, memory="1GiB", link=5_000_000), expected=3_000_000),
    "swap": Scenario("swap", "both guests of h1 begin to use more memory than its slice has: it swaps out",
                     "host-swap", Slice(cores=2.0, memory="460MiB", link=20_000_000), memory="384M",
                     needs_swap=True, other_memory="1000MiB"),
}


def step(text: str, out) -> None:
    print(paint("1", f"== {text}", out), file=out, flush=True)


class Show:
    """`drover top`, drawn over itself on a terminal; in a pipe only when something happens."""

    def __init__(self, fleet: Fleet, out):
        self._fleet = fleet
        self._out = out
        self._lines = 0
        self._last = None

    def draw(self, key) -> None:
        if not self._out.isatty() and key == self._last:
            return
        self._last = key
        if not self._out.isatty():
            print(self._fleet.drover("top", "--once"), end="", file=self._out, flush=True)
            return
        # A frame that is wider or higher than the terminal could not be drawn over: the cursor goes up by lines
        # of the terminal, and no further than its top.
        columns, lines = os.get_terminal_size(self._out.fileno())
        text = self._fleet.drover("top", "--once", "--colour", "always", env={"COLUMNS": str(columns or 80)})
        frame = text.splitlines()[:(lines or 24) - 1]
        up = f"\033[{self._lines}A" if self._lines else ""
        print(f"{up}\r\033[J" + "\n".join(frame), file=self._out, flush=True)
        self._lines = len(frame)


def guests_of(scenario: Scenario, hosts: int) -> dict[str, Guest]:
    """Two on h1, the others spread over the rest: the host of each is by its name's place."""
    names = ["web1", "web2"] + [f"db{i}" for i in range(1, max(hosts, 3))]
    return {name: Guest(name, f"10.80.1.{10 + i}", memory=scenario.memory,
                        expected_bandwidth=scenario.expected if name == "web1" else 0)
            for i, name in enumerate(names)}


def host_of(name: str, hosts: int) -> str:
    return "h1" if name.startswith("web") else f"h{2 + (int(name[2:]) - 1) % (hosts - 1)}"


def boot(fleet: Fleet, guests: dict[str, Guest]) -> dict[str, Control]:
    for name, guest in guests.items():
        fleet.hosts[host_of(name, len(fleet.hosts))].create(guest)
    controls = {}
    for name in guests:
        controls[name] = fleet.hosts[host_of(name, len(fleet.hosts))].control(name).ready(120)
    return controls


def level(scenario: Scenario, host: dict) -> float:
    """How full the host is, of what this is about; 1 is all."""
    load = host.get("load") or {}
    if scenario.name == "cpu":
        return (load.get("cpu-busy", 0) + load.get("cpu-steal", 0)) / max(load.get("cores", 1), 0.01)
    if scenario.name == "bandwidth":
        return max([max(nic["rx"], nic["tx"]) / nic["capacity"]
                    for nic in load.get("nics", []) if nic["capacity"]], default=0)
    return load.get("swap-out", 0) / 4e6


def follow(fleet: Fleet, scenario: Scenario, story: Story, show: Show, start: float, limit: float) -> None:
    """Until the hotspot is over or the limit is."""
    while (now := time.monotonic() - start) < limit and story.cooled is None:
        hosts = fleet.qmp.execute("query-hosts")
        hotspots = [h for h in fleet.qmp.execute("query-hotspots") if h["host"] == "h1"]
        moves = fleet.qmp.execute("query-migrations")
        story.samples.append((now, {host["name"]: level(scenario, host) for host in hosts}))
        note_hotspots(story, scenario, hotspots, now)
        for move in moves:
            note_move(story, move, now)
        note_end(fleet, story, now)
        if story.moved is not None and not hotspots and not open_moves(moves):
            story.cooled = now
        if story.began is None:
            story.against = [entry["why"] for entry in fleet.qmp.execute("query-plan")["rejected"]][:3] or story.against
        show.draw((len(hotspots), tuple((m["id"], m["state"]) for m in moves)))
        time.sleep(max(0, 0.5 - (time.monotonic() - start - now)))  # the pace of the picture


def note_hotspots(story: Story, scenario: Scenario, hotspots: list[dict], now: float) -> None:
    for spot in hotspots:
        story.kinds.add(spot["kind"])
        if story.found is None or (spot["kind"] == scenario.kind and not story.of_kind):
            story.found = now if story.found is None else story.found
            story.cause, story.of_kind = spot["cause"], spot["kind"] == scenario.kind


def open_moves(moves: list[dict]) -> list[dict]:
    return [move for move in moves if move["state"] not in ("closed", "completed", "failed")]


def note_move(story: Story, move: dict, now: float) -> None:
    if story.began is None:
        story.began, story.why = now, move.get("why", "")
        story.vm, story.source, story.target = move["vm"], move["from"], move["to"]


def note_end(fleet: Fleet, story: Story, now: float) -> None:
    """A migration that is over is shown no more: the history has it."""
    if story.moved is not None:
        return
    done = [entry for entry in fleet.qmp.execute("query-history", limit=100)
            if entry["what"] == "migration" and entry["text"] == "completed" and entry["from"] == "h1"]
    if done:
        first = done[-1]  # the newest come first
        story.moved = now
        story.vm, story.source, story.target = first["vm"], first["from"], first["to"]
        story.downtime = fleet.qmp.execute("explain", id=first["id"])["migration"].get("downtime", 0)
        story.why = next((entry["text"].removeprefix("planned: ") for entry in
                          fleet.qmp.execute("query-history", limit=100) if entry["id"] == first["id"]
                          and entry["text"].startswith("planned")), story.why)


def verify(fleet: Fleet, guests: dict[str, Guest], out) -> int:
    failed = 0
    for name in guests:
        where = fleet.where(name)
        answer = ""
        if len(where) == 1:
            path = fleet.hosts[where[0]].directory / "run" / name / "control.sock"
            answer = Control.ask(path, "status")
        good = answer.startswith("alive") and answer.endswith("errors 0")
        failed += not good
        mark = paint("32", "✓", out) if good else paint("31", "✗", out)
        print(f"  {mark} {name}: runs on {', '.join(where) or 'no host'}; {answer or 'silent'}", file=out)
    return failed


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def tell_why(fleet: Fleet, out) -> None:
    """It took long, or did not come: what the balancer says to that."""
    for entry in reversed(fleet.qmp.execute("query-history", limit=30)):
        print(f"  {entry['what']} {entry['id']}: {entry['text'][:200]}", file=out)
    for entry in fleet.qmp.execute("query-plan")["rejected"]:
        print(f"  not {entry['vm']}: {entry['why']}", file=out)


def report(story: Story, wanted: float, out) -> None:
    print(f"""  hotspot    {', '.join(sorted(story.kinds)) or 'none'} on h1, found after {seconds(story.found)}: {story.cause}
  decision   {story.vm} from {story.source} to {story.target}, after {seconds(story.began)}: {story.why}
  before     {'; '.join(story.against) or 'nothing spoke against it'}
  moved      after {seconds(story.moved)}, downtime {story.downtime * 1e3:.0f} ms
  resolved   {paint('1', 'after ' + seconds(story.cooled), out)} (wanted: {wanted:.0f} s)""", file=out)


def save_picture(story: Story) -> str:
    directory = paths.BUILD / "demo"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"hotspot-{story.hotspot}.svg"
    path.write_text(fleet_picture.draw(story), encoding="utf-8")
    return os.path.relpath(path)


def run(scenario: Scenario, hosts: int, out, persistence: int = SHIPPED_PERSISTENCE) -> tuple[Story, int]:
    """With a `persistence` (seconds) of its own, or all as delivered."""
    others = {f"h{n}": replace(scenario.slices, memory=scenario.other_memory or scenario.slices.memory)
              for n in range(2, hosts + 1)}
    shipped = persistence == SHIPPED_PERSISTENCE
    fleet = Fleet(hosts, scenario.slices, own_slices=others, persistence="" if shipped else f"{persistence}s")
    try:
        about = [host.qmp.execute("query-host") for host in fleet.hosts.values()]
        real = ", ".join(about[0].get("slice", {}).get("enforced", [])) or "nothing: only measured"
        part = scenario.slices
        step(f"{hosts} hosts, each a slice of this machine: {part.cores} cores, {part.memory}, "
             f"{part.link / 1e6:.0f} MB/s (enforced: link, {real})", out)
        guests = guests_of(scenario, hosts)
        step(f"{len(guests)} guests boot", out)
        controls = boot(fleet, guests)
        fleet.start_balancer()
        step(f"the balancer watches the calm fleet for {CALM:.0f} s; {persistence} s above a threshold will make a hotspot"
             + (" (as delivered)" if shipped else ""), out)
        time.sleep(CALM)
        step(scenario.words, out)
        story = Story(scenario.name)
        start = time.monotonic()
        scenario.drive(controls)
        follow(fleet, scenario, story, Show(fleet, out), start, LIMIT + 2 * persistence)
        step("report", out)
        wanted = WANTED + 2 * persistence
        report(story, wanted, out)
        if story.cooled is None or story.cooled > wanted:
            tell_why(fleet, out)
        for control in controls.values():
            control.close()
        step("verified", out)
        failed = verify(fleet, guests, out)
        print(f"\npicture: {save_picture(story)}", file=out)
        return story, failed + (story.cooled is None)
    finally:
        fleet.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool demo")
    parser.add_argument("--hosts", type=int, default=2, choices=range(2, 9))
    parser.add_argument("--hotspot", default="cpu", choices=list(SCENARIOS))
    parser.add_argument("--persistence", type=int, default=SHIPPED_PERSISTENCE, metavar="S",
                        help="seconds above a threshold that make a hotspot (default: 30, as delivered)")
    parser.add_argument("--json", action="store_true", help="one object with the times")
    options = parser.parse_args()
    out = sys.stderr if options.json else sys.stdout
    if reason := net.why_not():
        print(f"the hosts need network namespaces: {reason}", file=sys.stderr)
        return 1
    scenario = SCENARIOS[options.hotspot]
    with swap.file_if(scenario.needs_swap) as why:
        if why:
            print(f"this machine cannot swap: {why}; ./devtool lab cluster shows it", file=sys.stderr)
            return 1
        story, failed = run(scenario, options.hosts, out, options.persistence)
    if options.json:
        story.kinds = sorted(story.kinds)
        print(json.dumps({key: value for key, value in vars(story).items() if key != "samples"}))
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
