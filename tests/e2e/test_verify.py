# SPDX-License-Identifier: GPL-2.0-or-later
"""verify=on: RAM is compared before the guest runs elsewhere."""

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

BUSY = GuestOptions(memory="256M", working_set="64M", dirty=5000, policy="downtime=100ms,verify=on")


def pair(case, options):
    if not paths.is_drover(case.emulator):
        raise Skip("it is Drover's")
    return case.guest(options), case.destination(options)


@test(machine=["pc", "q35", "microvm"], pattern=["small-changes", "random-content"])
def test_a_busy_guest(case, machine, pattern):
    options = BUSY.but(machine=machine, pattern=pattern, smp=2)
    source, destination = pair(case, options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=60_000_000)
    case.migrate(source, destination)
    assert source.qmp.execute("query-migrate")["drover"]["verify"]
    case.healthy(destination)


@test()
def test_there_and_back_with_a_balloon(case):
    """What the guest gives back does not show as written."""
    options = BUSY.but(extra=("-device", "virtio-balloon-pci,free-page-reporting=on"))
    source, destination = pair(case, options)
    case.migrate(source, destination)
    back = case.destination(options)
    mark = destination.qmp.mark()
    destination.qmp.execute("balloon", value=200 << 20)
    destination.qmp.wait_event("BALLOON_CHANGE", 30, mark)
    case.migrate(destination, back)
    case.healthy(back)


@test()
def test_with_postcopy(case):
    options = BUSY.but(dirty=20000, pattern="random-content", policy="downtime=50ms,verify=on,on-stall=postcopy")
    source, destination = pair(case, options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=25_000_000)
    case.migrate(source, destination)
    case.healthy(destination)
