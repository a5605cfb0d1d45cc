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
DOOR = 4444  # Dom0's port to which the outer machine can connect
CALLS_WORD = "lab.calls"  # on Dom0's command line: the outer machine's port
_ADDRESS = "10.0.2.2"  # as QEMU's user network shows it


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


class OuterHost:
    """A droverd on the outer machine, whose guests are QEMU's."""

    def __init__(self, server):
        self._server = server

    def command(self, name: str, **changes) -> list[str]:
        """How QEMU is to run a guest of that name there, so that guest() hears it."""
        return self._server.host_command(name, changes)

    def guest(self, name: str) -> OuterGuest:
        return OuterGuest(name, self._server)

    def execute(self, command: str, **arguments):
        return json.loads(self._server.host_execute(command, json.dumps(arguments)))

    def migrate(self, name: str, move: str) -> None:
        """Orders that a guest goes to the Xen host's DOOR."""
        self._server.host_migrate(name, move)

    def abandon(self, name: str, move: str) -> None:
        """What was prepared for a guest is of no use any more: waits until it is gone."""
        self.execute("vm-abandon", migration=move)
        self._server.host_gone(name)

    def vm(self, name: str) -> dict:
        return next(vm for vm in self.execute("query-vms") if vm["name"] == name)

    def close(self) -> None:
        self._server.host_end()


class Outer:
    def __init__(self):
        self._server = xmlrpc.client.ServerProxy(f"http://{_ADDRESS}:{_calls_port()}")

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
        return OuterGuest(name, self._server), f"tcp:{_ADDRESS}:{port}"

    def host(self) -> OuterHost:
        """One at a time."""
        self._server.host_start(_ADDRESS)
        return OuterHost(self._server)
