# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside the emulated KVM host: guests under real KVM, moved with the soft-dirty tracker, which
is all that Debian 12's own kernel offers."""

import os
from pathlib import Path

from drover_e2e import kernel
from drover_e2e.case import Skip
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

GUEST = GuestOptions(machine="microvm", accel="kvm", cpu="host", memory="192M", working_set="24M",
                     dirty=300)


def why_it_failed(vm) -> str:
    return f"{vm.stderr()} {vm.console.lines[-5:]}"


@test(timeout=600, smp=[1, 2])
def test_ram_is_equal_at_the_switchover(case, smp):
    assert "soft-dirty" in kernel.trackers(), kernel.trackers()
    options = GUEST.but(smp=smp)
    source = case.guest(options)
    accelerator = source.qmp.execute("query-kvm")
    assert accelerator == {"enabled": True, "present": True}, accelerator
    destination = case.destination(options, paused=True)
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark, timeout=240)
    report = source.qmp.execute("query-migrate")["drover"]
    assert "soft-dirty" in str(report["tracker"]), report
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination, 20)
    case.healthy(destination)


@test(timeout=600)
def test_running_guest(case):
    source = case.guest(GUEST)
    destination = case.destination(GUEST)
    case.migrate(source, destination, timeout=240, within=20)  # a host that is itself emulated is slow
    case.healthy(destination)


@test(timeout=600)
def test_postcopy(case):
    """Under KVM it is the kernel that touches guest RAM on a vCPU's behalf."""
    source, destination = case.guest(GUEST), case.destination(GUEST)
    source.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "postcopy-ram", "state": True}])
    source.qmp.execute("migrate-set-parameters", max__bandwidth=5_000_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", timeout=240, after=mark)
    source.qmp.execute("migrate-start-postcopy")
    case.finish_migration(source, mark, timeout=240)
    report = source.qmp.execute("query-migrate")
    assert report["drover"]["postcopy"] and report["ram"]["postcopy-requests"] > 0, report
    case.alive_on(destination, 20)
    case.healthy(destination)


def groups_of_threads(vm) -> set[str]:
    pid = vm.pid
    groups = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            groups.add(Path(f"/proc/{pid}/task/{thread}/cgroup").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended since it was listed
    return groups


def our_groups() -> list[str]:
    """Each with what is in it."""
    return [f"{group}: {(group / 'cgroup.threads').read_text().split()}"
            for group in Path("/sys/fs/cgroup").glob("**/drover-*")]


@test(timeout=600)
def test_slowed_by_cgroup_v2(case):
    """Debian's kernel has no PAGEMAP_SCAN, so no governor: the vCPUs' share it is."""
    options = GUEST.but(smp=2, policy="downtime=20ms,max-slowdown=80,on-stall=slow")
    source, destination = case.guest(options), case.destination(options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=1_500_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_event("MIGRATION_DECISION", 240, mark, lambda data: data["slowdown"] > 0)
    status = source.qmp.execute("query-migrate")["drover"]
    assert status["slowed-by"] == "vcpu-share", (status, source.stderr())
    assert any("/drover-" in group for group in groups_of_threads(source)), source.stderr()
    source.qmp.execute("migrate_cancel")
    source.qmp.wait_migration("cancelled", timeout=240, after=mark)
    assert not any("/drover-" in group for group in groups_of_threads(source))
    assert not our_groups(), our_groups()
    case.alive_on(source, 20)


@test(timeout=600)
def test_balloon_and_dimm(case):
    """Under KVM both are memory slots that come and go: what the guest gave back, and what it got besides."""
    mib = 1 << 20
    options = GUEST.but(machine="pc", memory="160M,slots=2,maxmem=512M", boot=("memhp_default_state=online",), extra=(
        "-device", "virtio-balloon-pci,id=balloon,free-page-reporting=on",
        "-object", "memory-backend-ram,id=m1,size=128M", "-device", "pc-dimm,id=d1,memdev=m1"))
    source, destination = case.guest(options), case.destination(options)
    mark = source.qmp.mark()
    source.qmp.execute("balloon", value=256 * mib)
    source.qmp.wait_event("BALLOON_CHANGE", 120, mark, lambda data: data["actual"] == 256 * mib)
    case.migrate(source, destination, timeout=240, within=20)
    assert destination.qmp.execute("query-balloon")["actual"] == 256 * mib
    case.healthy(destination)


@test(timeout=600)
def test_vhost_is_refused(case):
    """A thread of the kernel's writes guest RAM, which does not stop with QEMU and which soft-dirty does not see."""
    options = GUEST.but(network=case.tap_network(), vhost=True)
    source, destination = case.guest(options), case.destination(options)
    try:
        source.qmp.execute("migrate", uri=destination.uri)
        raise AssertionError("it was begun")
    except QmpError as error:
        assert "/dev/vhost-net" in error.desc and "vhost=off" in error.desc, error
    case.alive_on(source, 20)


class ClosingAsRoot:
    """What clears up after the test needs its rights again."""

    @staticmethod
    def close() -> None:
        os.seteuid(0)
        os.setegid(0)


@test(timeout=600)
def test_an_ordinary_user_under_yama(case):
    """As Ubuntu has it: a process may trace its descendants only, and Drover is a child of QEMU's."""
    scope, nobody = Path("/proc/sys/kernel/yama/ptrace_scope"), 65534
    if not scope.exists():
        raise Skip("this kernel has no Yama")
    scope.write_text("1")
    os.chmod("/dev/kvm", 0o666)
    os.chown(case.scratch, nobody, nobody)
    os.setgroups([])
    os.setresgid(nobody, nobody, 0)
    os.setresuid(nobody, nobody, 0)  # what is started is that user's, for good
    case.keep(ClosingAsRoot)
    source, destination = case.guest(GUEST), case.destination(GUEST)
    case.migrate(source, destination, timeout=240, within=20)
    case.healthy(destination)
