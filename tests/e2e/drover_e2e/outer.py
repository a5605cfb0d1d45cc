# SPDX-License-Identifier: GPL-2.0-or-later
"""Seen from a Xen host of the lab: the machine that emulates it. Tests there have it run guests under stock QEMU, and
files travel through a folder that both see. A test takes a copy of a file into its own memory: what is mapped from
a guest's memory cannot be read or written through the folder's file system (9p)."""

import json
import shutil
import xmlrpc.client
from pathlib import Path

from .tale import Told

SHARE = Path("/outer")  # in Dom0
SHARE_TAG = "outer"
DISKS_TAG = "disks"  # of the folder that has the same path here and there, for guests' disks
DISKS_WORD = "lab.disks"
DOOR = 4444  # Dom0's port to which the outer machine can connect
CALLS_WORD = "lab.calls"  # on Dom0's command line: the outer machine's port
ADDRESS = "10.0.2.2"  # as QEMU's user network shows it


def _calls_port() -> int:
    words = Path("/proc/cmdline").read_text(encoding="ascii").split()
    return next(int(word.removeprefix(f"{CALLS_WORD}=")) for word in words if word.startswith(f"{CALLS_WORD}="))


def take(name: str, directory: Path) -> Path:
    """A file of the folder, copied into the directory."""
    return Path(shutil.copyfile(SHARE / name, directory / name))


def give(file: Path, name: str | None = None) -> str:
    """Copies a file into the folder; its name there."""
    shutil.copyfile(file, SHARE / (name or file.name))
    return name or file.name


class OuterGuest:
    """A guest of stock QEMU's on the outer machine. `changes` are those of xen.GUEST's options."""

    def __init__(self, name: str, server):
        self.name = name
        self._server = server

    def told(self, after: int = 0, timeout: float = 60) -> Told:
        """What it tells after that beat."""
        return Told(*self._server.told(self.name, after, timeout))

    def healthy(self) -> Told:
        """It has looked at all of its pages once more."""
        return Told(*self._server.healthy(self.name))

    def save(self, name: str) -> Told:
        """It stops, and its migration stream is that file of the folder; what it had told last. It is no more."""
        return Told(*self._server.save(self.name, name))

    def query(self, command: str) -> dict:
        """What its monitor answers to a command without arguments."""
        return json.loads(self._server.query(self.name, command))

    def execute(self, command: str, **arguments) -> None:
        self._server.execute(self.name, command, json.dumps(arguments))

    def migrate(self) -> None:
        """To this host's DOOR."""
        self._server.migrate(self.name)

    def migrated(self, *wanted: str) -> dict:
        """Waits for one of these statuses; what query-migrate says then."""
        info = json.loads(self._server.migrated(self.name, list(wanted)))
        assert info["status"] in wanted, info
        return info

    def kill(self) -> None:
        """As if its host had died."""
        self._server.kill(self.name)

    def close(self) -> None:
        self._server.end(self.name)


class Outer:
    def __init__(self):
        self._server = xmlrpc.client.ServerProxy(f"http://{ADDRESS}:{_calls_port()}")

    def guest(self, **changes) -> OuterGuest:
        """Boots; its workload runs."""
        return OuterGuest(self._server.guest(changes), self._server)

    def resume(self, name: str, **changes) -> OuterGuest:
        """One whose migration stream is in that file of the folder goes on."""
        return OuterGuest(self._server.resume(name, changes), self._server)

    def drover_guest(self, **changes) -> OuterGuest:
        """The same under Drover."""
        return OuterGuest(self._server.drover_guest(changes), self._server)

    def destination(self, **changes) -> tuple[OuterGuest, str]:
        """Drover's, where a guest can come to; and the address."""
        name, port = self._server.destination(changes)
        return OuterGuest(name, self._server), f"tcp:{ADDRESS}:{port}"

    def disk(self) -> Path:
        """A new one of 16 MiB, empty; the same path here and there."""
        return Path(self._server.disk())

    def written(self, disk: Path) -> int:
        """How often guests have written its blocks, as the outer machine sees it."""
        return int(self._server.written(str(disk)))

    def network(self) -> "OuterNetwork":
        """One that reaches both machines' guests."""
        return OuterNetwork(self._server)


class OuterNetwork:
    """A Lan of the outer machine's. `here` and `there` are -netdev's words, `target` is what echoes."""

    def __init__(self, server):
        self._server = server
        self._number, port, self.target = server.network()
        self.here, self.there = (f"socket,connect={host}:{port}" for host in (ADDRESS, "127.0.0.1"))

    def echoed(self, beyond: int = 0, timeout: float = 60) -> int:
        """How many bytes the guest's one connection has brought, once they are more than that."""
        return int(self._server.echoed(self._number, str(beyond), timeout))
