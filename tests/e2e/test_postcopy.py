# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy: the guest runs at the destination before all of its memory is there."""

from drover_e2e import analysis
from drover_e2e.case import Skip
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

# 64 MiB written 10,000 times a second, over a link of 25 MB/s: rounds alone never end.
BUSY = GuestOptions(memory="256M", working_set="64M", dirty=10000,
                    policy="downtime=100ms,on-stall=postcopy")
SLOW_LINK = 25_000_000


def limit(vm) -> None:
    vm.qmp.execute("migrate-set-parameters", max__bandwidth=SLOW_LINK)


def report_of(vm) -> dict:
    return vm.qmp.execute("query-migrate")


@test(smp=[1, 2], machine=["pc", "microvm"])
def test_guest_that_writes_too_fast(case, smp, machine):
    options = BUSY.but(smp=smp, machine=machine, disk=case.disk())
    source, destination = case.guest(options), case.destination(options)
    limit(source)
    seen = case.migrate(source, destination)
    report = report_of(source)
    assert report["drover"]["postcopy"] and report["ram"]["postcopy-requests"] > 0, report
    assert seen.downtime_ms < 100, (seen, report)
    assert report_of(destination)["status"] == "completed"
    case.healthy(destination)
    # Nothing is left of it: the guest can move on, tracked as ever.
    onward = case.destination(options.but(policy="downtime=300ms"))
    case.migrate(destination, onward)
    case.healthy(onward)
