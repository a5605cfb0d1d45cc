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


@test(wish=[True, False])
def test_exit_on_error(case, wish):
    """A guest that does not come ends its emulator, unless the user said that he wants to ask why."""
    options = new(SMALL)
    source, destination = case.guest(options), case.vm(options, incoming="defer")
    destination.qmp.negotiate()
    destination.qmp.execute("migrate-set-capabilities",
                            capabilities=[{"capability": "events", "state": True}])
    uri = f"unix:{case.scratch}/migrate"
    destination.qmp.execute("migrate-incoming", uri=uri, exit__on__error=wish)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=10_000_000)
    mark = case.start_migration(source, uri)
    source.qmp.wait_migration("active", after=mark)
    source.qmp.execute("migrate_cancel")
    source.qmp.wait_migration("cancelled", after=mark)
    if wish:
        assert destination.wait_exit() != 0
        return
    destination.qmp.wait_migration("failed")
    info = destination.qmp.execute("query-migrate")
    assert info["status"] == "failed" and info["error-desc"], info
    assert destination.running()
    case.alive_on(source)
