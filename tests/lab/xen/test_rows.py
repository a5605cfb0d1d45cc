# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move many times in a row: their memory, clocks, sleeps and registers are looked at after each move."""

import threading
import time

from drover_e2e.outer import MOVES_WORD, Outer, OuterGuest, word
from drover_e2e.row import APART_MS, ClockOf, OnQemu, OnXen, move, run
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL

PAUSE_S = 1.5  # less than half a turn of the ACPI timer
BY_ACPI_TIMER = {"working_set": "8M", "dirty": 100, "boot": (*NEUTRAL.boot, "clocksource=acpi_pm", "tsc=reliable")}
MOVES = int(word(MOVES_WORD, "20"))


class Places:
    """The hosts of the lab, for one kind of guest."""

    def __init__(self, case, door: int = 0, derived: bool = False, **changes):
        """`door`: the outer machine's port that leads to this host, for others than that one. `derived`: see OnXen."""
        self._case, self._door, self._derived, self._changes = case, door, derived, changes
        self.outer = Outer()
        self._clock = ClockOf(self.outer)

    def on_qemu(self, name: str, machine: Outer) -> OnQemu:
        return self._case.keep(OnQemu(name, machine, self._changes, self._clock))

    def tcg(self, _number: int) -> OnQemu:
        return self.on_qemu("QEMU/TCG", self.outer).wait()

    def xen(self, number: int) -> OnXen:
        return OnXen(self._case, number, NEUTRAL.but(**self._changes), self._clock, self._door, self._derived).wait()

    def doomed(self, point: str) -> tuple[OuterGuest, int]:
        """Drover's on the outer machine, which stands still at that point; its port."""
        guest, uri = self.outer.held_destination(point, **self._changes)
        return self._case.keep(guest), int(uri.rsplit(":", 1)[1])


@test(timeout=1400, smp=[1, 2], thorough=True)
def test_to_and_fro(case, smp):
    """Born on QEMU, to Xen and back, ten times."""
    places = Places(case, smp=smp)
    run(places.on_qemu("QEMU/TCG", places.outer).boot(), [places.xen, places.tcg], MOVES)


@test(timeout=1400, thorough=True)
def test_acpi_timer(case):
    """Of a guest that counts by the ACPI timer: that and its TSC, which is the hypervisor's on Xen where the other is the
    device model's, go on together."""
    places = Places(case, **BY_ACPI_TIMER)
    run(places.on_qemu("QEMU/TCG", places.outer).boot(), [places.xen, places.tcg], 4)


@test(timeout=600, thorough=True)
def test_given_up(case):
    """The same where a migration from Xen is given up in the pause, since its destination died: both have stood."""
    places = Places(case, **BY_ACPI_TIMER)
    there = places.on_qemu("QEMU/TCG", places.outer).boot()
    look = there.looked_at(there.told(2).number)
    here = places.xen(0)
    done, look = move(there, here, look)
    assert done
    doomed, port = places.doomed("destination loading")

    def die() -> None:
        doomed.came("destination loading")
        time.sleep(PAUSE_S)
        doomed.kill()

    dying = threading.Thread(target=die)
    dying.start()
    last = here.told().number
    info = here.move_to(port)
    dying.join()
    assert info["status"] == "failed", info
    here.healthy()
    look = here.looked_at(here.told(last).number)
    print(f"TOLD TSC {look.apart_us / 1000:.1f} ms apart after a pause of more than {PAUSE_S} s, {look.turns} turns missed")
    assert look.apart_us <= APART_MS * 1000, look


# What is the same under KVM, TCG and Xen: see tests/lab/inside/test_kvm.py.
EVERYWHERE = "qemu64,-x2apic,-cx16,-svm,kvm=off"


@test(timeout=1400, thorough=True)
def test_three_hypervisors(case):
    """Born on KVM; each way between two of KVM, Xen and TCG is taken."""
    outer = Outer()
    kvm_host, door = outer.kvm_host(), outer.door()
    at_kvm = Places(case, door, derived=True, cpu=EVERYWHERE)

    def kvm(_number: int) -> OnQemu:
        return at_kvm.on_qemu("QEMU/KVM", kvm_host).wait()

    places = Places(case, derived=True, cpu=EVERYWHERE)
    first = at_kvm.on_qemu("QEMU/KVM", kvm_host).boot()
    run(first, [at_kvm.xen, kvm, places.tcg, places.xen, places.tcg, kvm], 6)
