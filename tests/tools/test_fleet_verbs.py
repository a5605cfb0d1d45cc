#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The drover command's verbs for a fleet, against a balancer that is made of canned answers."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

TOOL = os.environ.get("DROVER_TOOL", "build/bin/drover")

LOAD = {"cores": 8, "cpu-busy": 7.2, "memory-total": 64e9, "memory-available": 16e9,
        "swap-out": 0, "nics": [{"name": "eth0", "capacity": 125e6, "rx": 1e6, "tx": 50e6}]}
MOVE = {"id": "m5", "vm": "vm3", "from": "host1", "to": "host2", "policy": "patient",
        "gain": 0.4, "cost": {"seconds": 3, "bytes": 1e9, "downtime": 0.05},
        "resolves": ["s1"], "why": "host1 cools to 60 %", "state": "proposed"}
ANSWERS = {
    "query-status": {"mode": "recommend", "hosts": 2, "vms": 1, "hotspots": 1, "migrations": 1,
                     "round-ms": 2, "since": 1, "config-file": "/etc/drover/fleet.toml"},
    "query-hosts": [{"name": "host1", "address": "tls:host1:9700", "state": "up", "group": "a",
                     "slice": False, "load": LOAD, "vms": 1, "hotspots": ["s1"],
                     "migrations-in": 0, "migrations-out": 1},
                    {"name": "host2\u001b[2J", "state": "unreachable", "vms": 0, "hotspots": []}],
    "query-vms": [{"name": "vm3", "host": "host1", "state": "running", "kind": "drover",
                   "policy": "patient", "hotspots": [], "pinned": True, "migration": "m4",
                   "load": {"cpu": 1.5, "memory": 4e9, "dirty-rate": 1e6}}],
    "query-hotspots": [{"id": "s1", "kind": "cpu", "host": "host1", "since": 1, "sure": 0.9,
                        "value": 0.95, "threshold": 0.8, "predicted": 0.97, "cause": "vm3 burns"}],
    "query-plan": {"id": "p1", "mode": "recommend", "state": "awaits-approval", "moves": [MOVE],
                   "rejected": [], "verdicts": []},
    "query-migrations": [{"id": "m4", "vm": "vm3", "from": "host1", "to": "host2",
                          "state": "moving", "status": "active", "total": 4e9, "remaining": 1e9}],
    "query-history": [{"time": 86400, "what": "done", "id": "m1", "vm": "vm3", "from": "host2",
                       "to": "host1", "text": "asked for by olga"}],
    "explain": {"id": "m5", "kind": "move", "text": "first line\nsecond \u001b[31mline"},
    "approve": {}, "set-mode": {}, "migrate": {"id": "m9"}, "evacuate": {"moves": ["m7", "m8"]},
}


class FakeBalancer:
    """QMP for any number of clients; what they asked is kept."""

    def __init__(self, path):
        self.path = path
        self.asked = []
        self.clients = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        def say(message):
            client.sendall(json.dumps(message).encode() + b"\n")

        with client, client.makefile("r", encoding="utf-8") as requests:
            try:
                say({"QMP": {"version": {"package": "fake"}, "capabilities": []}})
                for line in requests:
                    request = json.loads(line)
                    say({**self.answer(request), "id": request.get("id")})
            except (OSError, ValueError):
                pass

    def answer(self, request):
        command, arguments = request["execute"], request.get("arguments", {})
        if command == "qmp_capabilities":
            return {"return": {}}
        self.asked.append((command, arguments))
        if arguments.get("id") == "none":
            return {"error": {"class": "GenericError", "desc": "nothing is called none"}}
        return {"return": ANSWERS[command]}

    def end(self):
        # A thread that waits for the next client holds the socket open otherwise.
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        os.unlink(self.path)


class FleetTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="drover-test-")
        self.addCleanup(directory.cleanup)
        self.path = f"{directory.name}/balancer.sock"
        self.balancer = FakeBalancer(self.path)
        self.addCleanup(lambda: self.balancer and self.balancer.end())
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("DROVER_") and name != "NO_COLOR"}
        self.environment["TZ"] = "UTC"

    def drover(self, *words, balancer=True, environment=None):
        where = ["--balancer", f"unix:{self.path}"] if balancer else []
        return subprocess.run([TOOL, *words, *where], capture_output=True, text=True, timeout=60,
                              check=False, env={**self.environment, **(environment or {})})

    def good(self, *words, **options):
        run = self.drover(*words, **options)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertNotIn("\x1b", run.stdout)
        return run.stdout

    def assert_fails(self, run, code, text):
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stdout, "")
        self.assertIn(text, run.stderr)


class VerbTest(FleetTest):
    def test_lists(self):
        self.assertRegex(self.good("hosts"), r"host1 +up +a +90 % +75 % +40 %")
        self.assertIn("host2?[2J", self.good("hosts"))
        self.assertRegex(self.good("vms"), r"vm3 \(pinned\) +host1 +running +drover +1\.50")
        self.assertRegex(self.good("history"), r"1970-01-02 00:00:00 +done +m1 +vm3")

    def test_plan_and_explanation(self):
        plan = self.good("plan")
        self.assertIn("m5: vm3 from host1 to host2  proposed", plan)
        self.assertIn("drover approve p1", plan)
        self.assertEqual(self.good("explain", "m5"), "first line\nsecond ?[31mline\n")

    def test_orders_say_what_was_asked(self):
        self.assertEqual(self.good("approve", "p1"), "done\n")
        self.assertIn("m9", self.good("migrate", "vm3"))
        self.good("migrate", "vm3", "host2")
        self.assertEqual(self.good("evacuate", "host1"), "ordered: m7, m8\n")
        self.good("evacuate", "host1", "--cancel")
        self.good("mode", "automatic")
        self.assertEqual(self.good("mode"), "recommend\n")
        self.good("history", "--limit", "5", "--vm", "vm3")
        self.assertEqual(self.balancer.asked, [
            ("approve", {"id": "p1"}), ("migrate", {"vm": "vm3"}),
            ("migrate", {"vm": "vm3", "host": "host2"}), ("evacuate", {"host": "host1"}),
            ("evacuate", {"host": "host1", "cancel": True}), ("set-mode", {"mode": "automatic"}),
            ("query-status", {}), ("query-history", {"limit": 5, "vm": "vm3"})])

    def test_json_is_the_answer_itself(self):
        for verb, command in (("hosts", "query-hosts"), ("vms", "query-vms"),
                              ("plan", "query-plan"), ("history", "query-history"),
                              ("migrate vm3", "migrate"), ("explain m5", "explain")):
            self.assertEqual(json.loads(self.good(*verb.split(), "--json")), ANSWERS[command])

    def test_the_address_comes_from_the_environment(self):
        out = self.good("mode", balancer=False,
                        environment={"DROVER_BALANCER": f"unix:{self.path}"})
        self.assertEqual(out, "recommend\n")
        self.assert_fails(self.drover("mode", balancer=False,
                                      environment={"DROVER_BALANCER": "tls:localhost:1"}),
                          1, "takes certificates")
        self.assert_fails(self.drover("mode", "--tls-ca", "/none", "--balancer", "tls:localhost:1",
                                      balancer=False), 1, "/none")

    def test_old_migrate_is_still_meant(self):
        for words in (("/none/socket", "tcp:host:1"), ("socket", "unix:/x"), ("host:4444", "x")):
            run = self.drover("migrate", *words, balancer=False)
            self.assertEqual(run.returncode, 1)
            self.assertIn("connecting to", run.stderr)
        self.assertEqual(self.balancer.asked, [])

    def test_errors(self):
        self.assert_fails(self.drover("explain", "none"), 1, "nothing is called none")
        self.assert_fails(self.drover("explain"), 2, "is needed")
        self.assert_fails(self.drover("hosts", "x"), 2, "takes no words")
        self.assert_fails(self.drover("history", "--limit", "-1"), 2, "--limit")
        self.assert_fails(self.drover("vms", "--fast"), 2, "unknown option --fast")
        self.assert_fails(self.drover("vms", "--balancer", balancer=False), 2, "needs a value")
        self.assert_fails(self.drover("vms", "--balancer", "tcp:x:1", balancer=False), 1,
                          "unix:PATH or tls:HOST:PORT")
        self.balancer.end()
        self.balancer = None
        self.assert_fails(self.drover("hosts"), 1, "--balancer or DROVER_BALANCER")
        self.assert_fails(self.drover("top"), 1, "--balancer or DROVER_BALANCER")


class Terminal:
    """drover top as a person sees it."""

    def __init__(self, environment, path, columns=100, lines=30):
        self.end, other = pty.openpty()
        self.resize(columns, lines)
        self.text = ""
        self.run = subprocess.Popen(
            [TOOL, "top", "--balancer", f"unix:{path}"], stdin=other, stdout=other,
            stderr=subprocess.PIPE, env={**environment, "TERM": "xterm"}, start_new_session=True)
        os.close(other)

    def resize(self, columns, lines):
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read_until(self, part, limit=20):
        """What comes until `part` has come, which is taken off."""
        deadline = time.monotonic() + limit
        while part not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.end], [], [], left)[0]:
                raise AssertionError(f"{part!r} does not come: {self.text[-500:]!r}")
            try:
                self.text += os.read(self.end, 65536).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"{part!r} did not come: {self.text[-500:]!r}") from error
        before, self.text = self.text.split(part, 1)
        return before + part

    def close(self):
        if self.run.poll() is None:
            self.run.kill()
        self.run.communicate()
        os.close(self.end)


class TopTest(FleetTest):
    def open(self, **size):
        terminal = Terminal(self.environment, self.path, **size)
        self.addCleanup(terminal.close)
        return terminal

    def test_one_frame_in_a_pipe(self):
        for words in ((), ("--once",)):
            out = self.good("top", *words)
            for part in ("mode recommend", "host1", "[", "90 %", "vm3", "s1: host1", "m5: vm3",
                         "m4: vm3", "1.0 GB left"):
                self.assertIn(part, out)
        self.assertEqual(set(json.loads(self.good("top", "--json"))),
                         {"status", "hosts", "vms", "hotspots", "plan", "migrations"})

    def test_a_frame_for_the_terminal_of_another_program(self):
        run = self.drover("top", "--once", "--colour", "always", environment={"COLUMNS": "60"})
        out = run.stdout
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("\x1b[31m", out)
        for line in re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines():
            self.assertLessEqual(len(line), 60, line)
        self.good("hosts", "--colour", "never")
        self.assert_fails(self.drover("top", "--colour", "sometimes"), 2, "not auto, always or never")

    def test_live_until_q(self):
        terminal = self.open()
        terminal.read_until("\x1b[?1049h")
        frame = terminal.read_until("q quits\x1b[0m\x1b[K")
        frame += terminal.read_until("q quits\x1b[0m\x1b[K")
        self.assertIn("host1", frame)
        self.assertIn("\x1b[31m", frame)
        self.assertNotIn("\x1b[2J", frame)
        os.write(terminal.end, b"q")
        terminal.read_until("\x1b[?1049l")
        self.assertEqual(terminal.run.wait(timeout=20), 0)

    def test_it_asks_again_and_again(self):
        terminal = self.open()
        for _ in range(3):
            terminal.read_until("m4: vm3 from host1")
        os.kill(terminal.run.pid, signal.SIGTERM)
        terminal.read_until("\x1b[?25h\x1b[?1049l")
        self.assertEqual(terminal.run.wait(timeout=20), 0)

    def test_it_follows_the_size(self):
        terminal = self.open(columns=120)
        terminal.read_until("[####")
        terminal.resize(50, 30)
        terminal.run.send_signal(signal.SIGWINCH)
        terminal.read_until("GRO~")  # a table where there is no room for bars

    def test_it_finds_a_balancer_that_came_back(self):
        terminal = self.open()
        terminal.read_until("m4: vm3")
        self.balancer.end()
        terminal.read_until("no connection")
        self.balancer = FakeBalancer(self.path)
        terminal.read_until("q quits")
        terminal.read_until("m4: vm3")
        for _ in range(100):
            if ("query-hosts", {}) in self.balancer.asked:
                break
            terminal.read_until("\x1b[H")
        self.assertIn(("query-hosts", {}), self.balancer.asked)


if __name__ == "__main__":
    unittest.main(verbosity=2)
