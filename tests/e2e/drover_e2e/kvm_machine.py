# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs on an emulated KVM host beside a Xen host of the lab, as process 1: obeys the calls of outer.py, which
reach it through the machine that emulates both. start() is that machine's part."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from . import paths
from .emulated_host import EmulatedHost, HostDied
from .outer import ADDRESS, DOOR
from .outer_machine import OuterMachine, free_port
from .vm import GuestOptions

CALLS = 4443  # this host's port for calls; DOOR is that for guests
MEMORY_MIB = 1536
BOOT_S = 180


class KvmMachine(OuterMachine):
    """`door`: the outer machine's port that leads to DOOR of this host."""

    address = ADDRESS

    def __init__(self, door: int):
        super().__init__(Path("/tmp/share"), ("0.0.0.0", CALLS))
        self._door_here = door

    def _options(self, changes: dict) -> GuestOptions:
        return super()._options({**changes, "accel": "kvm"})

    def waiting(self, changes: dict) -> list:
        return [self._wait_at(self._options(changes), f"tcp:0.0.0.0:{DOOR}"), self._door_here]


def start(host_command, words: str = "", link: tuple[str, ...] = (),
          console: str = "console-kvm.log") -> tuple[EmulatedHost, int]:
    """Boots one, with a command line that host_command(words, memory, devices) makes; the host, and the port of this
    machine that leads to its CALLS. `link`: a network card besides that, with `words` for linked_host.py."""
    calls, door = free_port(), free_port()
    forwards = f"hostfwd=tcp:127.0.0.1:{calls}-:{CALLS},hostfwd=tcp:127.0.0.1:{door}-:{DOOR}"
    devices = ("-netdev", f"user,id=net0,{forwards}", "-device", "virtio-net-pci,netdev=net0,romfile=")
    host = EmulatedHost(host_command(f"lab.machine={door} {words}", MEMORY_MIB, devices + link),
                        paths.BUILD / "lab" / console, wake=True)
    up = threading.Event()

    def drain() -> None:
        for line in host.lines():
            if "LAB HOST UP" in line:
                up.set()

    threading.Thread(target=drain, daemon=True).start()
    if not up.wait(BOOT_S):
        host.end()
        raise HostDied(f"KVM host: it did not boot; its console: {host.log}")
    return host, calls


def run_host(machine) -> None:
    """As process 1; machine() is made when the network is there."""
    try:
        for words in (("addr", "add", "10.0.2.15/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            subprocess.run(["ip", *words], check=True)
        with machine():
            print("LAB HOST UP", flush=True)
            threading.Event().wait()
    except BaseException as error:  # process 1 must not end before the power is off
        print(f"LAB HOST FAILED: {error!r}", flush=True)
    subprocess.run(["poweroff", "-f"], check=False)
    os._exit(0)


if __name__ == "__main__":
    run_host(lambda: KvmMachine(int(sys.argv[1])))
