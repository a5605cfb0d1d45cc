# SPDX-License-Identifier: GPL-2.0-or-later
"""Between QEMU under KVM, on an emulated host, and QEMU under TCG on the machine that emulates it.

Not both on one emulated host: TCG would be an emulator within an emulator there, under which a guest's kernel may take
longer for a tick than from one to the next, and then it does nothing else any more."""

from drover_e2e.lab import start_kvm
from drover_e2e.outer import Outer
from drover_e2e.outer_machine import OuterMachine
from drover_e2e.row import ClockOf, OnQemu, run
from drover_e2e.runner import test
from drover_e2e.vm import EVERYWHERE


class Machines:
    """This machine, whose guests run under TCG, and an emulated KVM host."""

    def __init__(self, case):
        self._case = case
        outer = case.enter(OuterMachine(case.directory / "outer", start_kvm=start_kvm))
        self._here = Outer(outer.port, outer.address)
        self._kvm_host = self._here.kvm_host()
        self._clock = ClockOf(self._here)

    def kvm(self, _number: int = 0) -> OnQemu:
        return self._on("QEMU/KVM", self._kvm_host)

    def tcg(self, _number: int = 0) -> OnQemu:
        return self._on("QEMU/TCG", self._here)

    def _on(self, name: str, machine: Outer) -> OnQemu:
        return self._case.keep(OnQemu(name, machine, {"cpu": EVERYWHERE}, self._clock))

    def to_kvm(self, number: int) -> OnQemu:
        return self.kvm(number).wait()

    def to_tcg(self, number: int) -> OnQemu:
        return self.tcg(number).wait()


@test(timeout=900)
def test_there_and_back(case):
    """Another accelerator is another hypervisor: the guest's state is translated (docs/heterogeneity.md)."""
    machines = Machines(case)
    run(machines.kvm().boot(), [machines.to_tcg, machines.to_kvm], 2)


@test(timeout=2400, thorough=True)
def test_ways_between_accelerators(case):
    """In turn, and between two of TCG's: the pause with a translation beside that without one."""
    machines = Machines(case)
    run(machines.kvm().boot(), [machines.to_tcg, machines.to_tcg, machines.to_kvm], 21)
