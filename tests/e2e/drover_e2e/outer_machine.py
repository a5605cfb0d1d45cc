# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of outer.py, on the machine that emulates a Xen host: obeys the tests that run in that one."""

import json
import os
import shutil
import signal
import socket
import threading
import time
from dataclasses import astuple
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCServer

from . import paths, tale, watch
from .case import Case, pages_of
from .lan import Lan
from .outer_host import Host, HostGuest
from .sync import SyncPoints
from .vm import NEUTRAL, GuestOptions, Vm, guest_arguments

_METHODS = ("guest", "drover_guest", "resume", "destination", "waiting", "told", "healthy", "looked_at", "clock",
            "door_here", "kvm_host", "save", "query", "execute", "migrate", "migrated", "held_guest", "held_destination",
            "came", "let_go", "kill", "end", "host_start", "host_command", "host_execute", "host_migrate", "host_gone",
            "host_end", "disk", "written", "network", "echoed",
            "balloon", "entropy", "place")
MOVE_S = 300  # of a large guest to or from an emulated host that is busy
HEALTHY_S = 180
DISK_BYTES, BLOCK = 16 << 20, 4096


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class OuterMachine:
    """One call at a time, all in one thread: emulators die with the thread that started them.

    `start_kvm` boots a KVM host beside the Xen host: kvm_machine.start()."""

    address = "127.0.0.1"  # of the outer machine, as seen from here

    def __init__(self, share: Path, listen: tuple[str, int] = ("127.0.0.1", 0), start_kvm=None):
        self.share = share
        self.disks = share.parent / "disks"
        for folder in (self.share, self.disks):
            folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        logs = share.parent / "outer-logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        self._case = Case(logs, paths.QEMU)
        self._vms: dict[str, Vm | HostGuest] = {}
        self._host: Host | None = None
        self._server = SimpleXMLRPCServer(listen, logRequests=False)
        self.port = self._server.server_address[1]
        self.door = free_port()
        self._marks: dict[str, int] = {}
        self._points: dict[str, SyncPoints] = {}
        self._start_kvm = start_kvm
        self._kvm = None  # the host, once somebody wants it, and the port for calls
        self._lans: list[Lan] = []
        for method in _METHODS:
            self._server.register_function(getattr(self, method))

    def __enter__(self) -> "OuterMachine":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self._kvm:
            self._kvm[0].end()
        self.host_end()
        self._case.close()

    def door_here(self) -> int:
        """The port that leads to the Xen host."""
        return self.door

    def kvm_host(self) -> int:
        """Boots one if none is there; this machine's port for calls to it."""
        if self._kvm and self._kvm[0].process.poll() is not None:
            self._kvm = None
        self._kvm = self._kvm or self._start_kvm()
        return self._kvm[1]

    def guest(self, changes: dict) -> str:
        vm = self._case.vm(self._options(changes)).ready()
        self._vms[vm.name] = vm
        return vm.name

    def drover_guest(self, changes: dict) -> str:
        vm = self._case.vm(self._options(changes), emulator=paths.DROVER).ready()
        self._vms[vm.name] = vm
        return vm.name

    def held_guest(self, points: list, changes: dict) -> str:
        sync = self._sync_points(points)
        name = self.drover_guest({**changes, "env": sync.env})
        self._points[name] = sync
        return name

    def held_destination(self, points: list, changes: dict) -> list:
        sync = self._sync_points(points)
        name, port = self.destination({**changes, "env": sync.env})
        self._points[name] = sync
        return [name, port]

    def came(self, vm: str, point: str) -> bool:
        self._points[vm].wait(point, 60)
        return True

    def let_go(self, vm: str, point: str) -> bool:
        self._points[vm].let_go(point)
        return True

    def migrate(self, vm: str, port: int) -> bool:
        """To the outer machine's port; 0: to the Xen host. (Calls must return something.)"""
        uri = f"tcp:{self.address}:{port or self.door}"
        self._marks[vm] = self._case.start_migration(self._vms[vm], uri)
        return True

    def migrated(self, vm: str, statuses: list) -> str:
        """Waits for one of these, or for the migration's end; what query-migrate says then, as JSON."""
        qmp = self._vms[vm].qmp
        qmp.wait_migration("completed", "failed", "cancelled", *statuses, timeout=MOVE_S, after=self._marks[vm])
        return json.dumps(qmp.execute("query-migrate"))

    def execute(self, vm: str, command: str, arguments: str) -> bool:
        self._vms[vm].qmp.execute(command, **json.loads(arguments))
        return True

    def kill(self, vm: str) -> bool:
        """It and its QEMU, as if the host had died."""
        guest = self._vms.pop(vm)
        for pid in (guest.drover_pid(), guest.pid):
            os.kill(pid, signal.SIGKILL)
        guest.close()
        return True

    def resume(self, name: str, changes: dict) -> str:
        vm = self._case.destination(self._options(changes), address=f"exec:cat {self.share / name}")
        self._vms[vm.name] = vm
        event = vm.qmp.wait_migration("completed", "failed")
        assert event.data["status"] == "completed", vm.stderr()
        vm.qmp.execute("cont")  # one that was stopped arrives stopped
        return vm.name

    def destination(self, changes: dict) -> list:
        """Drover, to which a guest can come; its name, and its port."""
        options = self._options(changes)
        address = self._case.tcp_address(options)
        return [self._wait_at(options, address), int(address.rsplit(":", 1)[1])]

    def waiting(self, changes: dict) -> list:
        """The same; the port is the outer machine's."""
        return self.destination(changes)

    def _wait_at(self, options: GuestOptions, address: str) -> str:
        vm = self._case.destination(options, address=address, emulator=paths.DROVER)
        self._vms[vm.name] = vm
        return vm.name

    def _options(self, changes: dict) -> GuestOptions:
        """Calls know lists, options want tuples."""
        return NEUTRAL.but(**{name: tuple(value) if isinstance(value, list) else value
                              for name, value in changes.items()})

    def clock(self) -> float:
        return time.monotonic()

    def looked_at(self, vm: str, after: int) -> tuple:
        """Its clocks, sleeps and registers were watched since that beat: watch.look()."""
        return tuple(watch.look(self._vms[vm].console, after))

    def query(self, vm: str, command: str) -> str:
        """What its monitor answers, as JSON: calls know small numbers only."""
        return json.dumps(self._vms[vm].qmp.execute(command))

    def told(self, vm: str, after: int, timeout: float) -> tuple:
        return astuple(tale.wait(self._vms[vm].console, lambda told: told.number > after, timeout))

    def healthy(self, vm: str) -> tuple:
        guest = self._vms[vm]
        return astuple(tale.healthy(guest.console, pages_of(guest.options.working_set), HEALTHY_S))

    def save(self, vm: str, name: str) -> tuple:
        guest = self._vms[vm]
        guest.qmp.execute("stop")
        told = tale.last(guest.console)
        mark = self._case.start_migration(guest, f"exec:cat >{self.share / name}")
        self._case.finish_migration(guest, mark)
        self.end(vm)
        return astuple(told)

    def balloon(self, vm: str, mebibytes: int) -> bool:
        """Until the guest has that much memory, and the rest is in its balloon."""
        qmp, size = self._vms[vm].qmp, mebibytes << 20
        mark = qmp.mark()
        qmp.execute("balloon", value=size)
        qmp.wait_event("BALLOON_CHANGE", 60, mark, lambda data: data["actual"] == size)
        return True

    def place(self, vm: str) -> list:
        return tale.place(self._vms[vm].console)

    def entropy(self, vm: str, beyond: str) -> str:
        """Text, as echoed()."""
        return str(tale.entropy(self._vms[vm].console, int(beyond)))

    def disk(self) -> str:
        path = self.disks / f"disk{len(list(self.disks.iterdir()))}.raw"
        with open(path, "xb") as image:
            image.truncate(DISK_BYTES)
        return str(path)

    def written(self, disk: str) -> str:
        """By the numbers in its blocks (tests/guest/workload/disk.c); text, as echoed()."""
        contents = Path(disk).read_bytes()
        return str(sum(int.from_bytes(contents[at + 8:at + 16], "little") for at in range(0, len(contents), BLOCK)))

    def network(self) -> list:
        """Lasts as long as we do. Its number, the port for NICs, and what echoes there."""
        self._lans.append(self._case.keep(Lan()))
        return [len(self._lans) - 1, self._lans[-1].port, self._lans[-1].peer.target]

    def echoed(self, network: int, beyond: str, timeout: float) -> str:
        """Text: there may be more of them than calls' numbers can tell."""
        return str(self._lans[network].peer.wait(int(beyond), timeout))

    def end(self, vm: str) -> bool:
        """If it has not ended yet. (Calls must return something.)"""
        if vm in self._vms:
            self._vms.pop(vm).close()
        return True

    def _sync_points(self, points: list) -> SyncPoints:
        sync = self._case.keep(SyncPoints(f"{self._case.scratch}/sync{len(self._points)}"))
        for point in points:
            sync.hold(point)
        return sync

    def host_start(self, address: str) -> bool:
        """Migrations come to it at `address`."""
        self.host_end()
        self._host = Host(self._case, address)
        return True

    def host_command(self, name: str, changes: dict) -> list:
        options = self._options(changes)
        self.end(name)
        guest = self._vms[name] = HostGuest(self._case, name, options)
        return [*guest_arguments(options, 0, None), "-serial", f"unix:{guest.console.path}"]

    def host_execute(self, command: str, arguments: str) -> str:
        if command == "vm-prepare":
            self._host.prepared = self._host.qmp.mark()
        return json.dumps(self._host.qmp.execute(command, timeout=60, **json.loads(arguments)))

    def host_migrate(self, name: str, move: str) -> bool:
        self._host.qmp.execute("vm-migrate", migration=move, name=name, uri=f"tcp:127.0.0.1:{self.door}")
        return True

    def host_gone(self, name: str) -> bool:
        self._host.qmp.wait_event("VM_CHANGED", 60, self._host.prepared,
                                  lambda data: data["name"] == name and data["state"] in ("gone", "shut-off"))
        return True

    def host_end(self) -> bool:
        if self._host:
            self._host.close()
        self._host = None
        return True

    def _clear(self) -> None:
        """Guests that were saved when they had booted are kept (xen.booted), unless there are newer ones to boot."""
        guest = max(Path(paths.guest_file(name)).stat().st_mtime for name in ("vmlinuz", "initrd"))
        for file in self.share.iterdir():
            if not file.match("booted-*.save") or file.stat().st_mtime < guest:
                file.unlink()
        for file in self.disks.iterdir():
            file.unlink()
