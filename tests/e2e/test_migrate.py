# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that succeed, of every kind of guest."""

from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)


@test(machine=["pc", "q35", "microvm"], smp=[1, 4])
def test_running_guest(case, machine, smp):
    options = SMALL.but(machine=machine, smp=smp, disk=case.disk())
    source = case.guest(options)
    destination = case.destination(options)
    seen = case.migrate(source, destination)
    print(f"downtime {seen.downtime_ms:.1f} ms")
    case.healthy(destination)
