# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU 10.0 of Debian's backports below Drover: it moves guests as 7.2 does, and between the two."""

from drover_e2e import newer, paths
from drover_e2e.case import Skip
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)


def new(options: GuestOptions) -> GuestOptions:
    if reason := newer.why_not("qemu"):
        raise Skip(reason)
    return options.but(qemu=newer.QEMU)


@test(machine=["pc", "q35", "microvm"])
def test_running_guest(case, machine):
    options = new(SMALL.but(machine=machine, smp=2, disk=case.disk()))
    source, destination = case.guest(options), case.destination(options)
    assert source.qmp.greeting["version"]["qemu"]["major"] >= 10, source.qmp.greeting
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_postcopy(case):
    options = new(SMALL.but(machine="q35"))
    source, destination = case.guest(options), case.destination(options)
    for vm in (source, destination):
        vm.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "postcopy-ram", "state": True}])
    source.qmp.execute("migrate-set-parameters", max__bandwidth=20_000_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", after=mark)
    source.qmp.execute("migrate-start-postcopy")
    case.finish_migration(source, mark)
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_from_7_2_and_back(case):
    """With a machine type that both have. The bits that QEMU 10 shows where 7.2 does not keep nobody there."""
    old = SMALL.but(machine="pc-i440fx-7.2", disk=case.disk())
    first, second, third = case.guest(old), case.destination(new(old)), case.destination(old)
    case.migrate(first, second)
    first.stop()
    case.migrate(second, third)
    case.healthy(third)


@test()
def test_paused_guest(case):
    options = new(SMALL.but(machine="q35"))
    source, destination = case.guest(options), case.destination(options)
    source.qmp.execute("stop")
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    assert destination.qmp.execute("query-status")["running"] is False
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination)
    case.healthy(destination)
