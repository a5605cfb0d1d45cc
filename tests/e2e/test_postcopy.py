# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy: the guest runs at the destination before all of its memory is there."""

import os
import signal
import subprocess
import time

from drover_e2e import analysis, paths
from drover_e2e.case import Skip
from drover_e2e.net import Namespace
from drover_e2e.proxy import Proxy
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

# 64 MiB written 10,000 times a second, over a link of 25 MB/s: rounds alone never end.
# Whole pages of random bytes: no encoding makes them less.
BUSY = GuestOptions(memory="256M", working_set="64M", dirty=10000, pattern="random-content",
                    policy="downtime=100ms,on-stall=postcopy")
SLOW_LINK = 25_000_000


class Unprivileged(Namespace):
    """The host, without the right to hold the kernel's accesses to memory."""

    def prefix(self) -> list[str]:
        return ["unshare", "--mount", "sh", "-c",
                'mount --bind /dev/null /dev/userfaultfd 2>/dev/null; exec "$@"', "sh",
                "setpriv", "--bounding-set", "-sys_ptrace,-sys_admin", "--inh-caps",
                "-sys_ptrace,-sys_admin"]

    @classmethod
    def why_not(cls) -> str | None:
        probe = subprocess.run([*cls.host().prefix(), "true"], capture_output=True, text=True)
        return f"privileges cannot be given up here: {probe.stderr}" if probe.returncode else None


def limit(vm, rate: int = SLOW_LINK) -> None:
    vm.qmp.execute("migrate-set-parameters", max__bandwidth=rate)


def permit_postcopy(vm) -> None:
    vm.qmp.execute("migrate-set-capabilities",
                   capabilities=[{"capability": "postcopy-ram", "state": True}])


def start_postcopy(case, source, uri: str) -> int:
    """Up to the moment when the guest runs there and nearly all of its memory is still here."""
    permit_postcopy(source)
    mark = case.start_migration(source, uri)
    source.qmp.wait_migration("active", after=mark)
    source.qmp.execute("migrate-start-postcopy")
    source.qmp.wait_migration("postcopy-active", after=mark)
    return mark


@test(smp=[1, 2], machine=["pc", "microvm"])
def test_guest_that_writes_too_fast(case, smp, machine):
    options = BUSY.but(smp=smp, machine=machine, disk=case.disk())
    source, destination = case.guest(options), case.destination(options)
    destination.qmp.execute("migrate-set-capabilities",
                            capabilities=[{"capability": "postcopy-blocktime", "state": True}])
    limit(source, 10_000_000)
    mark = source.qmp.mark()
    started = time.monotonic()
    start_postcopy(case, source, destination.uri)
    case.finish_migration(source, mark)
    case.alive_on(destination)
    seen = analysis.handover(case.beats.between(started, time.monotonic()), source.name,
                             destination.name)
    report = source.qmp.execute("query-migrate")
    assert report["drover"]["postcopy"] and report["ram"]["postcopy-requests"] > 0, report
    # Without post-copy it would be seconds; a slow machine alone makes some 200 ms of it.
    assert seen.overlap == 0 and seen.downtime_ms < 500, (seen, report)
    arrived = destination.qmp.execute("query-migrate")
    assert arrived["status"] == "completed" and arrived["postcopy-blocktime"] > 0, arrived
    case.healthy(destination)
    # Nothing is left of it: the guest can move on, tracked as ever.
    onward = case.destination(options.but(policy="downtime=300ms"))
    case.migrate(destination, onward)
    case.healthy(onward)


@test()
def test_a_bound_of_its_own(case):
    """As in QEMU: max-bandwidth is for the copy, max-postcopy-bandwidth for what is pushed."""
    source, destination = case.guest(BUSY), case.destination(BUSY)
    limit(source, 8_000_000)
    if not paths.is_drover(case.emulator):
        raise Skip("it is QEMU's own")
    source.qmp.execute("migrate-set-parameters", max__postcopy__bandwidth=0)
    mark = start_postcopy(case, source, destination.uri)
    began = time.monotonic()
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")["ram"]
    slowly = report["postcopy-bytes"] / 8_000_000
    assert time.monotonic() - began < 0.6 * slowly, (time.monotonic() - began, slowly)
    case.healthy(destination)


def open_door(case, destination) -> Proxy:
    return case.keep(Proxy(f"{case.scratch}/proxy", destination.uri))


def lose_link(proxy, way: str) -> None:
    if way == "stall":
        proxy.stall()
    else:
        proxy.interrupt()


def mend_link(proxy) -> None:
    proxy.refuses = False
    proxy.resume()


@test(way=["cut", "stall"])
def test_guest_waits_for_a_broken_link(case, way):
    """It stands still while the link is down, and goes on with nothing lost when it is back."""
    options = BUSY.but(smp=2)
    source, destination = case.guest(options), case.destination(options)
    proxy = open_door(case, destination)
    limit(source)
    mark = start_postcopy(case, source, proxy.uri)
    there = destination.qmp.mark()
    lost = time.monotonic()
    lose_link(proxy, way)
    source.qmp.wait_migration("postcopy-paused", after=mark)
    destination.qmp.wait_migration("postcopy-paused", after=there)
    if way == "cut":  # called after 0.1, 0.2, 0.4 … s
        assert all(proxy.called.acquire(timeout=10) for _ in range(4))
    down = time.monotonic()
    assert not case.beats.between(lost + 0.5, down), "it runs on"
    missing = destination.qmp.execute("query-migrate")["drover"]["pages-missing"]
    assert missing > 0
    for command in ("cont", "migrate_cancel"):
        try:
            source.qmp.execute(command)
            raise AssertionError(f"{command} at the source, whose copy is out of date")
        except QmpError:
            pass
    again = source.qmp.mark()
    mend_link(proxy)
    source.qmp.wait_migration("postcopy-active", after=again)
    case.finish_migration(source, mark)
    case.beats.wait(destination.name, 10, after=down)
    case.alive_on(destination)
    case.healthy(destination)
    assert source.qmp.execute("query-migrate")["drover"]["link-breaks"] == 1


@test()
def test_link_that_breaks_again_and_again(case):
    source, destination = case.guest(BUSY), case.destination(BUSY)
    proxy = open_door(case, destination)
    limit(source)
    mark = start_postcopy(case, source, proxy.uri)
    breaks = 0
    while source.qmp.statuses(mark)[-1] != "completed" and breaks < 5:
        again = source.qmp.mark()
        before = proxy.forwarded
        proxy.interrupt()
        if source.qmp.wait_migration("postcopy-paused", "completed",
                                     after=again).data["status"] == "completed":
            break
        breaks += 1
        mend_link(proxy)
        source.qmp.wait_migration("postcopy-active", after=again)
        proxy.at(before + (4 << 20), lambda: None)
        proxy.acted.wait(10)
        proxy.acted.clear()
    mend_link(proxy)
    case.finish_migration(source, mark)
    assert breaks >= 3
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_source_that_is_quit_serves_to_the_end(case):
    """Its QEMU goes; its memory stays until the destination has it."""
    source, destination = case.guest(BUSY), case.destination(BUSY)
    limit(source)
    there = destination.qmp.mark()
    start_postcopy(case, source, destination.uri)
    source.qmp.execute("quit")
    destination.qmp.wait_migration("completed", after=there)
    assert source.wait_exit() == 0
    case.alive_on(destination)
    case.healthy(destination)


@test(side=["source", "destination"])
def test_a_side_dies(case, side):
    """Nobody runs a copy that is out of date."""
    source, destination = case.guest(BUSY), case.destination(BUSY)
    limit(source)
    mark = start_postcopy(case, source, destination.uri)
    there = destination.qmp.mark()
    if side == "source":
        source.kill()
        destination.qmp.wait_migration("postcopy-paused", after=there)
        status = destination.qmp.execute("query-migrate")
        assert status["drover"]["pages-missing"] > 0, status
    else:
        os.kill(destination.pid, signal.SIGKILL)
        assert destination.wait_exit() != 0
        source.qmp.wait_migration("completed", after=mark)
        assert "destination" in source.qmp.execute("query-migrate")["error-desc"]
        assert source.qmp.execute("query-status")["running"] is False


@test()
def test_no_postcopy_without_the_right_to_it(case):
    """A user who may not hold the kernel's accesses is told so at the start, and migrates."""
    reason = Unprivileged.why_not()
    if reason:
        raise Skip(reason)
    options = BUSY.but(policy="downtime=300ms,deadline=60s,on-stall=postcopy:switch")
    source = case.guest(options)
    destination = case.destination(options, namespace=Unprivileged.host())
    limit(source)
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")["drover"]
    assert not report["postcopy"] and "/dev/userfaultfd" in report["no-postcopy"], report
    assert "there will be no post-copy" in source.stderr()
    case.alive_on(destination)
    case.healthy(destination)


# However a guest writes: name → what is special about it.
WORKLOADS = {
    "idle": {"pattern": "idle", "dirty": 0},
    "slow": {"dirty": 1000},
    "small-changes": {"pattern": "small-changes", "dirty": 20000},
    "random-pages": {"pattern": "random-pages", "dirty": 20000},
    "random-content": {"pattern": "random-content", "dirty": 20000},
    "sweep": {"pattern": "sweep", "dirty": 20000},
    "small-set": {"working_set": "8M", "dirty": 50000, "pattern": "small-changes"},
    "flood": {"working_set": "128M", "dirty": 200000, "pattern": "small-changes"},
    "two-vcpus-disk": {"smp": 2, "dirty": 20000},
    "microvm": {"machine": "microvm", "pattern": "small-changes", "dirty": 50000},
}


@test(workload=list(WORKLOADS))
def test_guaranteed_downtime(case, workload):
    """The preset keeps its 100 ms, whatever the guest does, over a link of 62.5 MB/s."""
    options = GuestOptions(memory="256M", working_set="100M",
                           policy="preset=guaranteed").but(**WORKLOADS[workload])
    if workload == "two-vcpus-disk":
        options = options.but(disk=case.disk())
    source, destination = case.guest(options), case.destination(options)
    limit(source, 62_500_000)
    seen = case.migrate(source, destination)
    report = source.qmp.execute("query-migrate")
    print(f"{workload}: downtime {seen.downtime_ms:.1f} ms seen from outside, "
          f"{report['downtime']} ms by the source, total {report['total-time']} ms, "
          f"{'post-copy' if report['drover']['postcopy'] else 'pre-copy'}, "
          f"slowed {report['drover']['worst-slowdown']:.0f} %")
    assert report["downtime"] <= 100, report
    case.healthy(destination)


@test()
def test_paused_and_recovered_by_the_user(case):
    """QEMU's migrate-pause, migrate-recover at another address, and migrate with resume."""
    if not paths.is_drover(case.emulator):
        raise Skip("QEMU's own post-copy does not begin over so slow a link")
    source, destination = case.guest(BUSY), case.destination(BUSY)
    limit(source)
    permit_postcopy(destination)
    mark = start_postcopy(case, source, destination.uri)
    source.qmp.execute("migrate-pause")
    source.qmp.wait_migration("postcopy-paused", after=mark)
    destination.qmp.wait_migration("postcopy-paused")
    elsewhere = f"unix:{case.scratch}/elsewhere"
    destination.qmp.execute("migrate-recover", uri=elsewhere)
    source.qmp.execute("migrate", uri=elsewhere, resume=True)
    case.finish_migration(source, mark)
    case.alive_on(destination, within=10)
    case.healthy(destination)
