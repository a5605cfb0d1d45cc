# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside an emulated KVM host with a kernel that has PAGEMAP_SCAN (6.12 of Debian's backports): the tracker,
the governor and post-copy under real KVM, which writes and faults from within the kernel."""

from drover_e2e import kernel
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

GUEST = GuestOptions(machine="microvm", accel="kvm", cpu="host", memory="192M", working_set="24M",
                     dirty=300)


@test(timeout=600)
def test_ram_is_equal_at_the_switchover(case):
    assert "pagemap-scan" in kernel.trackers(), kernel.trackers()
    source = case.guest(GUEST)
    assert source.qmp.execute("query-kvm") == {"enabled": True, "present": True}
    destination = case.destination(GUEST, paused=True)
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark, timeout=240)
    report = source.qmp.execute("query-migrate")["drover"]
    assert "pagemap-scan" in str(report["tracker"]), report
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination, 20)
    case.healthy(destination)


@test(timeout=600)
def test_governor(case):
    """It holds back what KVM's guest writes, and lets go of it when the migration ends."""
    options = GUEST.but(policy="downtime=20ms,max-slowdown=80,on-stall=slow")
    source, destination = case.guest(options), case.destination(options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=1_000_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_event("MIGRATION_DECISION", 240, mark, lambda data: data["slowdown"] > 0)
    status = source.qmp.execute("query-migrate")["drover"]
    assert status["slowed-by"] == "write-governor", (status, source.stderr())
    source.qmp.execute("migrate-set-parameters", max__bandwidth=50_000_000)
    case.finish_migration(source, mark, timeout=240)
    case.alive_on(destination, 20)
    case.healthy(destination)


@test(timeout=600)
def test_postcopy(case):
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


@test(timeout=600)
def test_vhost_net(case):
    """Its worker in the kernel writes guest RAM, too, and is seen: a TCP stream loses and repeats no byte."""
    network = case.tap_network()
    peer = case.tcp_peer(network)
    options = GUEST.but(network=network, vhost=True, tcp=peer.target)
    there = case.guest(options)
    for _ in range(3):
        here = case.destination(options)
        before = case.beats.last(there.name)
        case.migrate(there, here, timeout=240, within=20)
        there.stop()
        case.beats.wait(here.name, 20, match=lambda b: b.tcp_bytes > before.tcp_bytes)
        there = here
    case.healthy(there)
    assert peer.problem is None and peer.connections == 1, (peer.problem, peer.connections)
