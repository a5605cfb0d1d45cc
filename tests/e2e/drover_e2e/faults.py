# SPDX-License-Identifier: GPL-2.0-or-later
"""A real fleet under faults: guests are moved to and fro while daemons are killed, links are cut, disks are
full, clocks jump and sockets are fed with garbage. No guest may be lost, doubled or stuck.

python3 -m drover_e2e.faults [--faults N] [--seed S] [--json]"""

import argparse
import contextlib
import json
import os
import random
import socket
import sys
import time

from . import net
from .fleet import Control, Fleet, Guest, Slice
from .qmp import QmpClosed, QmpError

SETTLE = 90.0  # seconds, after the last fault
GUESTS = ("web1", "web2", "db1")


class Ordeal:
    def __init__(self, fleet: Fleet, seed: int):
        self.fleet = fleet
        self.random = random.Random(seed)
        self.counts: dict[str, int] = {}
        self.moves = 0

    # What happens

    def kill_droverd(self) -> None:
        host = self.random.choice(list(self.fleet.hosts.values()))
        host.kill()
        host.start()

    def kill_balancer(self) -> None:
        self.fleet.balancer.kill()
        self.fleet.start_balancer()

    def cut_link(self) -> None:
        """The hosts' way to each other; the guests' own network stays."""
        host = self.random.choice(list(self.fleet.hosts.values()))
        host.namespace.run("ip", "link", "set", "moves", "down")
        self._pause(self.random.uniform(0.1, 1.0))
        host.namespace.run("ip", "link", "set", "moves", "up")

    def send_garbage(self) -> None:
        host = self.random.choice(list(self.fleet.hosts.values()))
        path = self.random.choice([host.socket, self.fleet.directory / "balancer.sock"])
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(path))
            try:
                for _ in range(self.random.randrange(1, 5)):
                    stranger.sendall(self.random.choice([
                        os.urandom(self.random.randrange(1, 2000)), b"[" * 5000 + b"\n",
                        b'{"execute": "qmp_capabilities"}\n{"execute": "vm-migrate", "arguments": []}\n',
                        b'{"execute": "vm-abandon", "arguments": {"migration": "../../x"}}\n']))
            except OSError:
                pass  # it was thrown out: good

    def fill_disk(self) -> None:
        disk = self.random.choice(list(self.fleet.disks.values()))
        disk.fill()
        self.ask_for_a_move()
        self._pause(self.random.uniform(0.1, 1.0))
        disk.free()

    def move_clock(self) -> None:
        """There and back: far away a host's word does not count, and no guest would be moved."""
        clock = self.random.choice(list(self.fleet.clocks.values()))
        clock.move(self.random.choice([-86400, -3600, -10, 10, 3600, 86400]))
        self.ask_for_a_move()
        self._pause(self.random.uniform(0.1, 1.5))
        clock.move(0)

    def ask_for_a_move(self) -> None:
        name = self.random.choice(GUESTS)
        try:
            self.fleet.qmp.execute("migrate", vm=name)
            self.moves += 1
        except (QmpError, QmpClosed, TimeoutError, OSError):
            pass  # it moves already, or nobody knows yet where it is

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)  # faults come at moments that nobody foresees

    # What must hold

    def running(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in GUESTS}
        for host in self.fleet.hosts.values():
            for vm in host.qmp.execute("query-vms"):
                if vm["name"] in found and vm.get("run-state") == "running":
                    found[vm["name"]].append(host.name)
        return found

    def check_doubles(self) -> None:
        doubled = {name: where for name, where in self.running().items() if len(where) > 1}
        if doubled:
            raise AssertionError(f"a guest runs twice: {doubled}")

    def settled(self) -> str:
        """Empty, or what is not as it should be yet."""
        try:
            open_moves = self.fleet.qmp.execute("query-migrations")
            where = self.running()
        except (QmpError, QmpClosed, TimeoutError, OSError) as error:
            return str(error)
        if any(move["state"] != "closed" for move in open_moves):
            return f"open: {[(m['id'], m['state'], m.get('error')) for m in open_moves]}"
        wrong = {name: hosts for name, hosts in where.items() if len(hosts) != 1}
        return f"where: {wrong}" if wrong else ""

    def tell(self, out) -> None:
        """What there is to say when it went wrong."""
        with contextlib.suppress(QmpError, QmpClosed, TimeoutError, OSError):
            for host in self.fleet.hosts.values():
                print(f"{host.name}: {json.dumps(host.qmp.execute('query-vms'))}", file=out)
                print(f"  {json.dumps(host.qmp.execute('query-migrations'))}", file=out)
            moves = self.fleet.qmp.execute("query-migrations")
            print(f"balancer: {json.dumps(moves)}", file=out)
            for entry in reversed(self.fleet.qmp.execute("query-history", limit=60)):
                print(f"  {json.dumps(entry)}", file=out)
        for log in sorted(self.fleet.directory.rglob("*.log")):
            if "console" not in log.name:
                print(f"== {log}\n{log.read_text(errors='replace')[-3000:]}", file=out)

    def run(self, faults: int, out) -> None:
        kinds = [self.kill_droverd, self.kill_balancer, self.cut_link, self.send_garbage, self.move_clock]
        if self.fleet.disks:
            kinds.append(self.fill_disk)
        else:
            print("  no disk is filled: we may mount none", file=out)
        for number in range(faults):
            if self.random.random() < 0.7:
                self.ask_for_a_move()
                self._pause(self.random.uniform(0, 0.6))
            fault = self.random.choice(kinds)
            fault()
            self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
            self.check_doubles()
            if out.isatty():
                print(f"\r  {number + 1} of {faults} faults, {self.moves} moves asked for", end="", file=out,
                      flush=True)
        if out.isatty():
            print(file=out)

    def wait_until_settled(self) -> float:
        start = time.monotonic()
        while problem := self.settled():
            if time.monotonic() - start > SETTLE:
                raise AssertionError(f"not settled {SETTLE:.0f} s after the last fault: {problem}")
            self._pause(0.5)
        for name, where in self.running().items():
            path = self.fleet.hosts[where[0]].directory / "run" / name / "control.sock"
            answer = Control.ask(path, "status")
            if not (answer.startswith("alive") and answer.endswith("errors 0")):
                raise AssertionError(f"{name} on {where[0]} is not well: {answer!r}")
        return time.monotonic() - start


def ordeal(faults: int, seed: int, out) -> dict:
    fleet = Fleet(2, Slice(cores=1.0, link=50_000_000), mode="recommend",
                  more="[limits]\nmigration-bandwidth = \"20MB/s\"", faulty=True)
    run = Ordeal(fleet, seed)
    try:
        for number, name in enumerate(GUESTS):
            host = fleet.hosts["h2" if name.startswith("db") else "h1"]
            host.create(Guest(name, f"10.80.1.{10 + number}", memory="96M"))
            host.control(name).ready(120).close()
        fleet.start_balancer()
        start = time.monotonic()
        run.run(faults, out)
        settled = run.wait_until_settled()
        history = fleet.qmp.execute("query-history", limit=100000)
        done = sum((entry["what"], entry["text"]) == ("migration", "completed") for entry in history)
        return {"faults": faults, "seed": seed, **run.counts, "moves-asked": run.moves,
                "moves-completed": done, "lost": 0, "doubled": 0, "settled-after": round(settled, 1),
                "seconds": round(time.monotonic() - start, 1)}
    except BaseException:
        run.tell(sys.stderr)
        raise
    finally:
        fleet.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool bench faults")
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := net.why_not():
        print(f"the hosts need network namespaces: {reason}", file=sys.stderr)
        return 1
    result = ordeal(options.faults, options.seed, sys.stderr)
    print(json.dumps(result) if options.json else
          "\n".join(f"  {key:16} {value}" for key, value in result.items()))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
