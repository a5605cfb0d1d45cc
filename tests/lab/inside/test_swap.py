# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside the emulated KVM host: guests whose memory the host takes back and swaps while they move. The mark of a
write (soft-dirty) goes with a page that leaves the page table; no page may arrive out of date because of that."""

import subprocess
import threading
from pathlib import Path

from drover_e2e import kernel
from drover_e2e.case import Skip
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

GUEST = GuestOptions(machine="microvm", accel="kvm", cpu="host", memory="192M", working_set="48M", dirty=600)
SWAP = Path("/dev/vda")
GROUP = Path("/sys/fs/cgroup/drover-lab-swap")


def swap_on() -> None:
    if "/dev/vda" in Path("/proc/swaps").read_text(encoding="ascii"):
        return
    if not SWAP.exists():
        raise Skip("this host has no disk to swap to")
    subprocess.run(["mkswap", str(SWAP)], check=True)
    subprocess.run(["swapon", str(SWAP)], check=True)


def pages_swapped_out() -> int:
    lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("pswpout "))


class Reclaim:
    """Takes memory back from the source, its QEMU and its guest, again and again."""

    def __enter__(self):
        Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory", encoding="ascii")
        GROUP.mkdir(exist_ok=True)
        (GROUP / "cgroup.procs").write_text("0", encoding="ascii")  # what we start now is charged to it
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        return self

    def begin(self) -> None:
        Path("/sys/fs/cgroup/cgroup.procs").write_text("0", encoding="ascii")
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                (GROUP / "memory.reclaim").write_text("24M", encoding="ascii")
            except OSError:
                pass  # not so much could be had at once
            self._over.wait(0.5)

    def __exit__(self, *_):
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()


@test(timeout=600)
def test_ram_is_equal_though_it_was_swapped(case):
    assert "soft-dirty" in kernel.trackers(), kernel.trackers()
    swap_on()
    with Reclaim() as reclaim:
        source = case.guest(GUEST)
        reclaim.begin()
        before = pages_swapped_out()
        destination = case.destination(GUEST, paused=True)
        mark = case.start_migration(source, destination.uri)
        case.finish_migration(source, mark, timeout=400)
    assert pages_swapped_out() > before + 1000, "the host did not swap"
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination, 20)
    case.healthy(destination)
