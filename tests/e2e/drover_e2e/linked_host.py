# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs on an emulated KVM host that has a link to another one, as process 1: obeys the calls of linked_hosts.py,
those of outer.py among them.

python3 -m drover_e2e.linked_host DOOR NUMBER"""

import subprocess
import sys

from . import paths
from .kvm_machine import KvmMachine, run_host

LINK = "eth1"
FIRST_PORT = 4500  # over the link guests come to this one and those after it
_METHODS = ("shape", "wait_over_link", "migrate_over_link", "boot")


def address(number: int) -> str:
    return f"10.82.0.{number}"


class LinkedMachine(KvmMachine):
    def __init__(self, door: int, number: int):
        super().__init__(door)
        self._other = address(3 - number)
        self._ports = FIRST_PORT
        subprocess.run(["ip", "addr", "add", f"{address(number)}/24", "dev", LINK], check=True)
        subprocess.run(["ip", "link", "set", LINK, "up"], check=True)
        for method in _METHODS:
            self._server.register_function(getattr(self, method))

    def shape(self, words: list) -> bool:
        """What netem does to all that leaves over the link; nothing: it is as it was made."""
        subprocess.run(["tc", "qdisc", "del", "dev", LINK, "root"], check=False, capture_output=True)
        if words:
            subprocess.run(["tc", "qdisc", "add", "dev", LINK, "root", "netem", *words], check=True)
        return True

    def boot(self, emulator: str, changes: dict) -> str:
        """Of "drover" or "qemu"."""
        return self.drover_guest(changes) if emulator == "drover" else self.guest(changes)

    def wait_over_link(self, emulator: str, changes: dict) -> list:
        self._ports += 1
        vm = self._case.destination(self._options(changes), address=f"tcp:0.0.0.0:{self._ports}",
                                    emulator=paths.DROVER if emulator == "drover" else paths.QEMU)
        self._vms[vm.name] = vm
        return [vm.name, self._ports]

    def migrate_over_link(self, vm: str, port: int) -> bool:
        self._marks[vm] = self._case.start_migration(self._vms[vm], f"tcp:{self._other}:{port}")
        return True


if __name__ == "__main__":
    run_host(lambda: LinkedMachine(int(sys.argv[1]), int(sys.argv[2])))
