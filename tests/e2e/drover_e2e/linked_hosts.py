# SPDX-License-Identifier: GPL-2.0-or-later
"""Two emulated KVM hosts and the link between them, which a test may make as bad as it likes."""

import tempfile
import xmlrpc.client

from . import kvm_machine
from .case import Case
from .lab import build_kvm_host, host_command_of
from .outer import OuterGuest


class LinkedHost:
    def __init__(self, case: Case, number: int, directory: str):
        here, there = f"{directory}/link{number}", f"{directory}/link{3 - number}"
        link = ("-netdev", f"dgram,id=link,local.type=unix,local.path={here},remote.type=unix,remote.path={there}",
                "-device", f"virtio-net-pci,netdev=link,mac=52:54:00:82:00:{number:02x},romfile=")
        host, port = kvm_machine.start(host_command_of, f"lab.link={number}", link, f"console-link{number}.log")
        case.keep(_Host(host))
        self._server = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}")

    def boot(self, emulator: str, **changes) -> OuterGuest:
        """A guest of "drover"'s or "qemu"'s."""
        return OuterGuest(self._server.boot(emulator, changes), self._server)

    def wait(self, emulator: str, **changes) -> tuple[OuterGuest, int]:
        """For a guest that comes over the link, to that port."""
        name, port = self._server.wait_over_link(emulator, changes)
        return OuterGuest(name, self._server), port

    def migrate(self, guest: OuterGuest, port: int) -> None:
        """To the other host."""
        self._server.migrate_over_link(guest.name, port)

    def shape(self, *words: str) -> None:
        self._server.shape(list(words))


class _Host:
    def __init__(self, host):
        self._host = host

    def close(self) -> None:
        self._host.end()


class LinkedHosts:
    def __init__(self, case: Case):
        build_kvm_host()
        directory = case.enter(tempfile.TemporaryDirectory(prefix="drover-link-"))
        self.here, self.there = (LinkedHost(case, number, directory) for number in (1, 2))

    def shape(self, *words: str) -> None:
        """Of netem, for each direction: ("delay", "75ms", "loss", "1%"), ("rate", "20mbit"); nothing: a good link."""
        for host in (self.here, self.there):
            host.shape(*words)

    def cut(self) -> None:
        """In silence."""
        self.shape("loss", "100%")
