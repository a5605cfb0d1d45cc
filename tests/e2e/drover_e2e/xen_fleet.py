# SPDX-License-Identifier: GPL-2.0-or-later
"""droverd in Dom0 of an emulated Xen host."""

import os
import shutil
import subprocess
from pathlib import Path

from .case import Case
from .fleet import Daemon
from .net import Namespace
from .outer import DOOR
from .qmp import Qmp


class XenDroverd:
    """Its state outlives it: start() finds again what was there. Ended at the test's end, which leaves domains alone."""

    def __init__(self, case: Case, name: str = "dom0"):
        self._directory = case.scratch / name
        self._directory.mkdir()
        self._log: Path = case.directory / f"{name}.log"
        self._config = self._directory / "droverd.toml"
        self._socket = self._directory / "droverd.sock"
        self._config.write_text(f"""name = "{name}"
state-directory = "{self._directory}/state"
socket = "{self._socket}"
[migration]
address = "127.0.0.1"
first-port = {DOOR}
last-port = {DOOR}
[definitions]
xen-directories = ["{case.directory}"]
""", encoding="utf-8")
        self._daemon: Daemon | None = None
        self.qmp: Qmp | None = None
        case.keep(self)
        self.start()

    def start(self) -> "XenDroverd":
        self._daemon = Daemon("droverd", ["--config", str(self._config)], self._log, Namespace.host(), self._socket)
        self.qmp = Qmp.connect(self._socket)
        return self

    def kill(self) -> None:
        self._daemon.kill()

    def vm(self, name: str) -> dict:
        return next(vm for vm in self.qmp.execute("query-vms") if vm["name"] == name)

    def monitor(self, name: str) -> Path:
        """The socket of the process that serves a guest; one client at a time."""
        return self._directory / "state" / "run" / name / "qmp.sock"

    def becomes(self, name: str, state: str, after: int) -> None:
        """Waits until a VM is told to be so, behind that mark."""
        self.qmp.wait_event("VM_CHANGED", 60, after, lambda data: data["name"] == name and data["state"] == state)

    def is_now(self, name: str, state: str) -> None:
        """Waits until it is, if it is not yet."""
        mark = self.qmp.mark()
        if self.vm(name)["state"] != state:
            self.becomes(name, state, mark)

    def migration(self, move: str, after: int, *statuses: str) -> str:
        """Waits until it is so; which of them it is."""
        return self.qmp.wait_event("VM_MIGRATION", 120, after, lambda data: data["migration"] == move
                                   and data["status"] in statuses).data["status"]

    def load(self, name: str, seconds: float) -> list[dict]:
        return self.qmp.execute("query-vm-load", name=name, seconds=seconds)

    def close(self) -> None:
        if self._daemon:
            self._daemon.stop()
        shutil.rmtree(self._directory)  # with sockets of those who serve domains yet
        print(self._log.read_text(errors="replace")[-6000:])


def xen_time(name: str) -> float:
    """Seconds that a domain's vCPUs ran, as xl tells."""
    said = subprocess.run(["xl", "list", name], capture_output=True, text=True, check=True).stdout
    return float(said.splitlines()[1].split()[-1])


def device_model(name: str) -> int:
    """The process in Dom0."""
    domain = subprocess.run(["xl", "domid", name], capture_output=True, text=True, check=True).stdout.strip()
    said = subprocess.run(["xenstore-read", f"/local/domain/{domain}/image/device-model-pid"], capture_output=True,
                          text=True, check=True).stdout
    return int(said)


def processes_time(pids: list[int]) -> float:
    """Seconds of processor time in Dom0."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def host_memory() -> int:
    """Bytes of the machine, as xl tells."""
    said = subprocess.run(["xl", "info", "total_memory"], capture_output=True, text=True, check=True).stdout
    return int(said) << 20
