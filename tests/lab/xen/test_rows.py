# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move many times in a row: their memory, clocks, sleeps and registers are looked at after each move."""

from drover_e2e.outer import MOVES_WORD, Outer, word
from drover_e2e.row import ClockOf, OnQemu, OnXen, run
from drover_e2e.runner import test
from drover_e2e.vm import EVERYWHERE, NEUTRAL

BY_ACPI_TIMER = {"working_set": "8M", "dirty": 100, "boot": (*NEUTRAL.boot, "clocksource=acpi_pm", "tsc=reliable")}
MOVES = int(word(MOVES_WORD, "20"))
ROW_S = max(1400, 60 * MOVES)  # a move takes some 30 s on a host that has the time


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


@test(timeout=ROW_S, smp=[1, 2], thorough=True)
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
