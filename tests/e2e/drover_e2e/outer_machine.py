# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of outer.py, on the machine that emulates a Xen host: obeys the tests that run in that one."""

import json
import os
import signal
import socket
import threading
from dataclasses import astuple
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCServer

from . import paths, tale
from .case import Case, pages_of
from .lan import Lan
from .vm import NEUTRAL, GuestOptions, Vm

_METHODS = ("guest", "drover_guest", "resume", "destination", "told", "healthy", "save", "query", "execute", "migrate",
            "migrated", "kill", "end", "disk", "written", "network",
            "echoed")
DISK_BYTES, BLOCK = 16 << 20, 4096


def _options(changes: dict) -> GuestOptions:
    """Calls know lists, options want tuples."""
    return NEUTRAL.but(**{name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class OuterMachine:
    """One call at a time, all in one thread: emulators die with the thread that started them."""

    def __init__(self, share: Path):
        self.share = share
        self.disks = share.parent / "disks"
        for folder in (self.share, self.disks):
            folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        logs = share.parent / "outer-logs"
        logs.mkdir(exist_ok=True)
        self._case = Case(logs, paths.QEMU)
        self._vms: dict[str, Vm] = {}
        self._server = SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
        self.port = self._server.server_address[1]
        self.door = _free_port()
        self._marks: dict[str, int] = {}
        self._lans: list[Lan] = []
        for method in _METHODS:
            self._server.register_function(getattr(self, method))

    def __enter__(self) -> "OuterMachine":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._case.close()

    def guest(self, changes: dict) -> str:
        vm = self._case.vm(_options(changes)).ready()
        self._vms[vm.name] = vm
        return vm.name

    def drover_guest(self, changes: dict) -> str:
        vm = self._case.vm(_options(changes), emulator=paths.DROVER).ready()
        self._vms[vm.name] = vm
        return vm.name

    def migrate(self, vm: str) -> bool:
        """To the Xen host. (Calls must return something.)"""
        self._marks[vm] = self._case.start_migration(self._vms[vm], f"tcp:127.0.0.1:{self.door}")
        return True

    def migrated(self, vm: str, statuses: list) -> str:
        """Waits for one of these, or for the migration's end; what query-migrate says then, as JSON."""
        qmp = self._vms[vm].qmp
        qmp.wait_migration("completed", "failed", "cancelled", *statuses, timeout=120, after=self._marks[vm])
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
        vm = self._case.destination(_options(changes), address=f"exec:cat {self.share / name}")
        self._vms[vm.name] = vm
        event = vm.qmp.wait_migration("completed", "failed")
        assert event.data["status"] == "completed", vm.stderr()
        vm.qmp.execute("cont")  # one that was stopped arrives stopped
        return vm.name

    def destination(self, changes: dict) -> list:
        """Drover, to which a guest can come; its name, and its port."""
        options = _options(changes)
        address = self._case.tcp_address(options)
        vm = self._case.destination(options, address=address, emulator=paths.DROVER)
        self._vms[vm.name] = vm
        return [vm.name, int(address.rsplit(":", 1)[1])]

    def query(self, vm: str, command: str) -> str:
        """What its monitor answers, as JSON: calls know small numbers only."""
        return json.dumps(self._vms[vm].qmp.execute(command))

    def told(self, vm: str, after: int, timeout: float) -> tuple:
        return astuple(tale.wait(self._vms[vm].console, lambda told: told.number > after, timeout))

    def healthy(self, vm: str) -> tuple:
        guest = self._vms[vm]
        return astuple(tale.healthy(guest.console, pages_of(guest.options.working_set)))

    def save(self, vm: str, name: str) -> tuple:
        guest = self._vms[vm]
        guest.qmp.execute("stop")
        told = tale.last(guest.console)
        mark = self._case.start_migration(guest, f"exec:cat >{self.share / name}")
        self._case.finish_migration(guest, mark)
        self.end(vm)
        return astuple(told)

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

    def _clear(self) -> None:
        """Guests that were saved when they had booted are kept (xen.booted), unless there are newer ones to boot."""
        guest = max(Path(paths.guest_file(name)).stat().st_mtime for name in ("vmlinuz", "initrd"))
        for file in self.share.iterdir():
            if not file.match("booted-*.save") or file.stat().st_mtime < guest:
                file.unlink()
        for file in self.disks.iterdir():
            file.unlink()
