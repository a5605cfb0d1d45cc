#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The drover command as a person and a script use it, on stock QEMU."""

import json
import os
import pathlib
import pty
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
from drover_e2e import picture_labels  # noqa: E402 (where the path has just been set)

TOOL = os.environ.get("DROVER_TOOL", "build/bin/drover")


def drover(*words):
    return subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=60, check=False)


def xl_save():
    """The least that is a file of `xl save`: a page at 0x7000, a record of the hypervisor, a device."""
    def record(kind, body=b""):
        return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)

    config = json.dumps({"c_info": {"name": "small"}}).encode() + b"\0"
    header = struct.pack("<IIQII", 0x54381286, 1, 0, 0, 0)
    hvm = struct.pack("<HHI", 1, 0, len(header)) + header + bytes(8)
    model = b"QEVM" + struct.pack(">I", 3) + struct.pack(">BIB5sII", 4, 0, 5, b"timer", 0, 2) + bytes(23) + b"\5\0"
    return (b"Xen saved domain, xl format\n \0 \r"
            + struct.pack("<5I", 0x01020304, 3, 0, len(config) + 4, len(config)) + config
            + b"LibxlFmt" + struct.pack(">II", 2, 0) + record(1)
            + bytes([0xff] * 8) + struct.pack(">IIQ", 0x58454e46, 3, 0) + struct.pack("<IIII", 2, 12, 4, 17)
            + record(16) + record(1, struct.pack("<QQ", 1, 7) + bytes(4096)) + record(9, hvm) + record(0)
            + record(3, struct.pack("<II", 2, 0) + model) + record(0))


class Qemu:
    """A small paused guest; -daemonize returns when its monitor can be reached."""

    def __init__(self, directory, name, *options):
        self.socket = f"{directory}/{name}.sock"
        self.pidfile = f"{directory}/{name}.pid"
        subprocess.run(
            ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m", "64", "-S",
             "-nodefaults", "-display", "none", "-qmp", f"unix:{self.socket},server=on,wait=off",
             "-daemonize", "-pidfile", self.pidfile, *options],
            check=True, timeout=60)
        with open(self.pidfile, encoding="ascii") as file:
            self.pid = int(file.read())

    def qmp(self, command, arguments=None):
        words = [json.dumps(arguments)] if arguments else []
        run = drover("qmp", self.socket, command, *words)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def end(self):
        # A QEMU that was told to quit removes its pidfile.
        if os.path.exists(self.pidfile):
            os.kill(self.pid, signal.SIGKILL)


class ToolTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="drover-test-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.source = self.start("source")

    def start(self, name, *options):
        qemu = Qemu(self.directory, name, *options)
        self.addCleanup(qemu.end)
        return qemu

    def start_destination(self):
        destination = self.start("destination", "-incoming", "defer")
        uri = f"unix:{self.directory}/migration.sock"
        destination.qmp("migrate-incoming", {"uri": uri})
        return destination, uri

    def assert_fails(self, run, code, text):
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stdout, "")
        self.assertIn(text, run.stderr)


class QmpTest(ToolTest):
    def test_prints_what_the_command_returns(self):
        run = drover("qmp", self.source.socket, "query-status")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stdout.count("\n"), 1)
        self.assertEqual(json.loads(run.stdout)["status"], "prelaunch")

    def test_error_goes_to_stderr(self):
        run = drover("qmp", self.source.socket, "nope", "{}")
        self.assert_fails(run, 1, "drover: error: The command nope has not been found")

    def test_wrong_usage(self):
        path = self.source.socket
        self.assert_fails(drover(), 2, "Usage:")
        self.assert_fails(drover("fly"), 2, "no such verb: fly")
        self.assert_fails(drover("qmp", path), 2, "are needed")
        self.assert_fails(drover("qmp", path, "stop", "{"), 2, "JSON parse error, line 1")
        self.assert_fails(drover("qmp", path, "stop", "[]"), 2, "not a JSON object")
        self.assert_fails(drover("qmp", path, "stop", "--timeout", "x"), 2, "number of seconds")
        self.assert_fails(drover("qmp", path, "--wait-event"), 2, "needs a value")

    def test_nobody_there(self):
        run = drover("qmp", f"{self.directory}/none", "stop")
        self.assert_fails(run, 1, f"connecting to unix:{self.directory}/none")

    def test_tcp_monitor(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.start("tcp", "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off")
        for where in (f"127.0.0.1:{port}", f"tcp:127.0.0.1:{port}"):
            run = drover("qmp", where, "query-status")
            self.assertEqual(run.returncode, 0, run.stderr)

    def test_waits_for_an_event(self):
        run = drover("qmp", self.source.socket, "cont", "--wait-event", "RESUME", "--timeout", "30")
        self.assertEqual(run.returncode, 0, run.stderr)
        reply, event = map(json.loads, run.stdout.splitlines())
        self.assertEqual(reply, {})
        self.assertEqual(event["event"], "RESUME")

    def test_event_must_match(self):
        run = drover("qmp", self.source.socket, "quit", "--wait-event", "SHUTDOWN",
                     "--match", "reason=guest-reset", "--timeout", "30")
        self.assertEqual(run.returncode, 1)
        self.assertIn("the QMP peer closed the connection", run.stderr)
        other = self.start("other")
        run = drover("qmp", other.socket, "quit", "--wait-event", "SHUTDOWN",
                     "--match", "reason=host-qmp-quit", "--match", "guest=false", "--timeout", "30")
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_gives_up_waiting(self):
        run = drover("qmp", self.source.socket, "--wait-event", "STOP", "--timeout", "0.2")
        self.assert_fails(run, 1, "no such event STOP in time")

    def test_monitor_in_use(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(self.source.socket)
            other.recv(1)
            run = drover("qmp", self.source.socket, "stop", "--timeout", "0.2")
        self.assert_fails(run, 1, "another may be connected")


class ReportTest(ToolTest):
    ROUNDS = [{"round": 1, "seconds": 2.0, "sent-pages": 70000, "dirty-pages": 5000,
               "bytes": 280000000, "slowdown": 0, "guest-paused": False},
              {"round": 2, "seconds": 0.2, "sent-pages": 5000, "dirty-pages": 0,
               "bytes": 20000000, "slowdown": 40, "guest-paused": True}]

    def report(self, text):
        path = f"{self.directory}/report.json"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return drover("report", path)

    def test_draws(self):
        run = self.report(json.dumps({"status": "completed", "drover": {
            "rounds": self.ROUNDS, "total": 2.3, "downtime": 0.02,
            "decisions": [{"reason": "round 1: <b> & more"}]}}))
        self.assertEqual(run.returncode, 0, run.stderr)
        picture = xml.etree.ElementTree.fromstring(run.stdout)
        self.assertTrue(picture.tag.endswith("svg"))
        text = "".join(picture.itertext())
        self.assertIn("completed: 2.30 s, downtime 20.0 ms", text)
        self.assertIn("round 1: <b> & more", text)
        self.assertEqual(picture_labels.problems(run.stdout), [])

    def test_refuses_what_is_no_report(self):
        for text, words in (("{", "JSON"), ("[]", "no report"), ("{}", "no report"),
                            ('{"drover": {"rounds": []}}', "no rounds"),
                            ('{"drover": {"rounds": [1]}}', "no rounds"),
                            ('{"drover": {"rounds": {}}}', "no report")):
            self.assert_fails(self.report(text), 1, words)
        self.assert_fails(drover("report", f"{self.directory}/none"), 1, "opening")
        self.assert_fails(drover("report"), 2, "FILE")


class MigrateTest(ToolTest):
    def slow_down(self):
        self.source.qmp("migrate-set-parameters", {"max-bandwidth": 4096})

    def test_completes(self):
        destination, uri = self.start_destination()
        run = drover("migrate", self.source.socket, uri)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout.splitlines()[-1],
                         r"^migration completed in \d+\.\d+ s: \d+\.\d+ MB in \d+ rounds, ")
        self.assertNotIn("\r", run.stdout)
        self.assertEqual(self.source.qmp("query-status")["status"], "postmigrate")
        self.assertEqual(destination.qmp("query-migrate")["status"], "completed")

    def test_json(self):
        _, uri = self.start_destination()
        run = drover("migrate", self.source.socket, uri, "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(json.loads(run.stdout)["status"], "completed")

    def test_bar_on_a_terminal(self):
        _, uri = self.start_destination()
        terminal, other_end = pty.openpty()
        run = subprocess.run([TOOL, "migrate", self.source.socket, uri], stdout=other_end,
                             stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        drawn = os.read(terminal, 1 << 16).decode()
        os.close(other_end)
        os.close(terminal)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("\r[", drawn)
        self.assertIn("migration completed in ", drawn)

    def test_refused_uri(self):
        run = drover("migrate", self.source.socket, "carrier-pigeon:1")
        self.assert_fails(run, 1, "migration protocol")

    def test_nobody_at_the_destination(self):
        run = drover("migrate", self.source.socket, f"unix:{self.directory}/none")
        self.assertEqual(run.returncode, 1)
        self.assertIn("drover: error: migration failed: ", run.stderr)

    def test_timeout_cancels(self):
        _, uri = self.start_destination()
        self.slow_down()
        run = drover("migrate", self.source.socket, uri, "--timeout", "0.5")
        self.assertEqual(run.returncode, 1)
        self.assertIn("migration cancelled (not completed in time)", run.stderr)
        self.assertEqual(self.source.qmp("query-migrate")["status"], "cancelled")

    def test_inspects_a_saved_guest(self):
        saved = f"{self.directory}/guest.state"
        run = drover("migrate", self.source.socket, f"exec:cat >{saved}")
        self.assertEqual(run.returncode, 0, run.stderr)
        text = drover("inspect", saved).stdout
        self.assertRegex(text, r"machine pc-i440fx-\d+\.\d+")
        self.assertRegex(text, r"(?m)^pc\.ram +65536 +\d+ +\d+ +0 +\d+$")
        self.assertRegex(text, r"(?m)^mc146818rtc +0 +3 +245 ")
        one = drover("inspect", saved, "--section", "mc146818rtc").stdout
        self.assertRegex(one, r"(?m)^  cmos_data = [0-9a-f]{100}\.\.\. \(buffer\)$")
        whole = json.loads(drover("inspect", saved, "--json").stdout)
        rtc = next(section for section in whole["sections"] if section["name"] == "mc146818rtc")
        self.assertEqual(len(rtc["state"]["cmos_data"]), 2 * 128)
        vcpus = json.loads(drover("inspect", saved, "--state").stdout)["vcpu"]
        self.assertEqual([vcpu["rip"] for vcpu in vcpus], ["0xfff0"])
        self.assert_fails(drover("inspect", saved, "--section", "none"), 1, "no section none")
        os.truncate(saved, os.path.getsize(saved) - 100)
        self.assert_fails(drover("inspect", saved), 1, "was it cut off?")
        self.assert_fails(drover("inspect", TOOL), 1, "no QEMU migration stream")
        self.assert_fails(drover("inspect", "/dev/zero"), 1, "no regular file")
        self.assert_fails(drover("inspect"), 2, "FILE")

    def test_inspects_a_guest_of_xens(self):
        saved = f"{self.directory}/guest.save"
        pathlib.Path(saved).write_bytes(xl_save())
        text = drover("inspect", saved).stdout
        self.assertIn("xl save file, of Xen 4.17, guest small", text)
        self.assertRegex(text, r"(?m)^0x7000 +1$")
        self.assertRegex(text, r"(?m)^HEADER +0 +24$")
        self.assertRegex(text, r"(?m)^timer +0 +2 +24$")
        self.assertIn("  0000  8612385401000000", drover("inspect", saved, "--section", "HEADER").stdout)
        whole = json.loads(drover("inspect", saved, "--json").stdout)
        self.assertEqual(whole["sections"][0]["bytes"], "00" * 23 + "05")
        self.assert_fails(drover("inspect", saved, "--section", "none"), 1, "no section none")
        self.assert_fails(drover("inspect", saved, "--state"), 1, "PCI_IRQ")
        os.truncate(saved, os.path.getsize(saved) - 8)
        self.assert_fails(drover("inspect", saved), 1, "was it cut off?")

    def test_interrupt_cancels(self):
        _, uri = self.start_destination()
        self.slow_down()
        with subprocess.Popen([TOOL, "migrate", self.source.socket, uri], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            self.assertNotEqual(run.stdout.readline(), "")
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 1)
        self.assertIn("migration cancelled (interrupted)", errors)
        self.assertEqual(self.source.qmp("query-migrate")["status"], "cancelled")


if __name__ == "__main__":
    unittest.main(verbosity=2)
