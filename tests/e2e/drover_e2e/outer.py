# SPDX-License-Identifier: GPL-2.0-or-later
"""Seen from a Xen host of the lab: the machine that emulates it. Tests there have it run guests under stock QEMU, and
files travel through a folder that both see. A test takes a copy of a file into its own memory: what is mapped from
a guest's memory cannot be read or written through the folder's file system (9p)."""

import json
import shutil
import xmlrpc.client
from pathlib import Path

from .tale import Told
from .watch import Look

SHARE = Path("/outer")  # in Dom0
SHARE_TAG = "outer"
DISKS_TAG = "disks"  # of the folder that has the same path here and there, for guests' disks
DISKS_WORD = "lab.disks"
DOOR = 4444  # Dom0's port to which the outer machine can connect
MOVES_WORD = "lab.moves"  # how many moves a row has
CALLS_WORD = "lab.calls"  # on Dom0's command line: the outer machine's port
ADDRESS = "10.0.2.2"  # as QEMU's user network shows it


def word(name: str, otherwise: str = "") -> str:
    """Of this host's kernel's command line: what NAME=… says."""
    words = Path("/proc/cmdline").read_text(encoding="ascii").split()
    return next((each.removeprefix(f"{name}=") for each in words if each.startswith(f"{name}=")), otherwise)


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

    def balloon(self, mebibytes: int) -> None:
        """Until the guest has that much memory, and the rest is in its balloon."""
        self._server.balloon(self.name, mebibytes)

    def place(self) -> list[int]:
        """How many pages of its memory lie above 4 GiB, and below (drover.place=1)."""
        return self._server.place(self.name)

    def entropy(self, beyond: int = 0) -> int:
        """How many bytes it has had from its entropy device, once there are more than that."""
        return int(self._server.entropy(self.name, str(beyond)))

    def migrate(self, port: int = 0) -> None:
        """To this host's DOOR, or to a port of the outer machine."""
        self._server.migrate(self.name, port)

    def looked_at(self, after: int) -> Look:
        """Its clocks, sleeps and registers were watched since that beat: watch.look()."""
        return Look(*self._server.looked_at(self.name, after))

    def migrated(self, *wanted: str) -> dict:
        """Waits for one of these statuses; what query-migrate says then."""
        info = json.loads(self._server.migrated(self.name, list(wanted)))
        assert info["status"] in wanted, info
        return info

    def came(self, point: str) -> None:
        """Waits until it stands at the sync point at which it is to be held (Outer.held_guest)."""
        self._server.came(self.name, point)

    def let_go(self, point: str) -> None:
        self._server.let_go(self.name, point)

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
    """The outer machine, or another host that knows its calls: that machine's port for them, and its address as it is
    seen from here."""

    def __init__(self, port: int = 0, address: str = ADDRESS):
        self._address = address
        self._server = xmlrpc.client.ServerProxy(f"http://{address}:{port or word(CALLS_WORD)}")

    def clock(self) -> float:
        """Its time.monotonic()."""
        return self._server.clock()

    def door(self) -> int:
        """Its port that leads to DOOR of this host."""
        return self._server.door_here()

    def kvm_host(self) -> "Outer":
        """Of a KVM host beside this one, which boots if it is not there."""
        return Outer(self._server.kvm_host(), self._address)

    def guest(self, **changes) -> OuterGuest:
        """Boots; its workload runs."""
        return OuterGuest(self._server.guest(changes), self._server)

    def resume(self, name: str, **changes) -> OuterGuest:
        """One whose migration stream is in that file of the folder goes on."""
        return OuterGuest(self._server.resume(name, changes), self._server)

    def drover_guest(self, **changes) -> OuterGuest:
        """The same under Drover."""
        return OuterGuest(self._server.drover_guest(changes), self._server)

    def held_guest(self, *points: str, **changes) -> OuterGuest:
        """The same, which waits at these sync points (sync.py) when it comes to them."""
        return OuterGuest(self._server.held_guest(list(points), changes), self._server)

    def destination(self, **changes) -> tuple[OuterGuest, str]:
        """Drover's, where a guest can come to; and the address."""
        name, port = self._server.destination(changes)
        return OuterGuest(name, self._server), f"tcp:{ADDRESS}:{port}"

    def held_destination(self, *points: str, **changes) -> tuple[OuterGuest, str]:
        """The same, which waits at these sync points."""
        name, port = self._server.held_destination(list(points), changes)
        return OuterGuest(name, self._server), f"tcp:{ADDRESS}:{port}"

    def waiting(self, **changes) -> tuple[OuterGuest, int]:
        """The same as destination(); the outer machine's port that leads there."""
        name, port = self._server.waiting(changes)
        return OuterGuest(name, self._server), port

    def host(self) -> OuterHost:
        """One at a time."""
        self._server.host_start(ADDRESS)
        return OuterHost(self._server)

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
