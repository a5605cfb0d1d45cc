# SPDX-License-Identifier: GPL-2.0-or-later
"""drover-xen, in Dom0 of an emulated Xen host: its process and its monitor."""

import os
import subprocess
import time
from pathlib import Path

from . import paths
from .case import Case
from .qmp import Qmp

PROGRAM = str(paths.BUILD / "bin" / "drover-xen")


def model_words() -> str:
    """What the device model that was started last has said, which xl keeps from everybody."""
    logs = sorted(Path("/var/log/xen").glob("qemu-dm-*.log"), key=lambda log: log.stat().st_mtime)
    return logs[-1].read_text(errors="replace")[-1500:] if logs else ""


class DroverXen:
    """`words` behind the verb; ended at the test's end, which leaves the guest where it is."""

    def __init__(self, case: Case, name: str, verb: str, *words: str, env: dict | None = None):
        socket = case.scratch / f"{name}.qmp.sock"
        if verb == "serve":  # who dies does not come back: nobody waits for long
            words = (*words, "-migrate-policy", "reconnect=3s")
        self._stderr: Path = case.directory / f"{name}.stderr"
        with open(self._stderr, "wb") as stderr:
            self.process = subprocess.Popen(
                [PROGRAM, verb, *words, "-qmp", f"unix:{socket},server=on,wait=off"], stdin=subprocess.DEVNULL,
                stdout=stderr, stderr=stderr,
                env={**os.environ, "DROVER_DEFECTS": "fatal", "DROVER_DEBUG": "1", **(env or {})})
        self._ended_well = False  # nobody wants to read of it
        case.keep(self)
        self.qmp = self._connect(socket)
        self.qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])

    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    def migrate(self, uri: str) -> int:
        """Starts it; the mark of the events before it."""
        mark = self.qmp.mark()
        self.qmp.execute("migrate", uri=uri)
        return mark

    def ended(self, mark: int, *wanted: str, timeout: float = 120) -> dict:
        """Waits for the migration's end, of one of these statuses; what query-migrate says then."""
        event = self.qmp.wait_migration("completed", "failed", "cancelled", timeout=timeout, after=mark)
        info = self.qmp.execute("query-migrate")
        assert event.data["status"] in wanted, (event.data, info, self.stderr())
        return info

    def quit(self) -> int:
        self.qmp.execute("quit", timeout=60)
        code = self.process.wait(60)
        self._ended_well = code == 0
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if not self._ended_well:
            print(self.stderr()[-6000:])
            print(model_words())

    def _connect(self, socket: Path) -> Qmp:
        """It needs a moment until it listens."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return Qmp.connect(socket)
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None and time.monotonic() < deadline, self.stderr()
                time.sleep(0.05)
