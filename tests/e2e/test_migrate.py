# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that succeed, of every kind of guest."""

import time

from drover_e2e import analysis, kernel, paths, ram
from drover_e2e.case import Skip
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)


@test(machine=["pc", "q35", "microvm"], smp=[1, 4])
def test_running_guest_with_disk(case, machine, smp):
    options = SMALL.but(machine=machine, smp=smp, disk=case.disk())
    source = case.guest(options)
    destination = case.destination(options)
    blocks = case.beats.last(source.name).disk_blocks
    case.migrate(source, destination)
    case.healthy(destination)
    assert case.beats.last(destination.name).disk_blocks > blocks


@test(machine=["pc", "q35", "microvm"], tracker=["pagemap-scan", "soft-dirty"])
def test_ram_is_equal_at_the_switchover(case, machine, tracker):
    if not paths.is_drover(case.emulator):
        raise Skip("looks into Drover's memory")
    if tracker not in kernel.trackers():
        raise Skip(f"this kernel has no {tracker}")
    options = SMALL.but(machine=machine, smp=2, env={"DROVER_TRACKER": tracker})
    source = case.guest(options)
    destination = case.destination(options, paused=True)
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")["drover"]
    assert tracker in str(report["tracker"]), report
    # The source says "completed" when the destination has everything.
    assert destination.qmp.execute("query-status")["running"] is False
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_emulator_behind_a_wrapper(case):
    """As NixOS and many a site have it: a script that runs something else first, and then QEMU."""
    if not paths.is_drover(case.emulator):
        raise Skip("it is Drover that has to find its way through")
    wrapper = case.scratch / "qemu-wrapper"
    wrapper.write_text(f'#!/bin/sh\n/bin/true\nexec {paths.OTHER_QEMU or paths.QEMU} "$@"\n')
    wrapper.chmod(0o755)
    options = SMALL.but(qemu=str(wrapper))
    source, destination = case.guest(options), case.destination(options)
    assert "could not be migrated" not in source.stderr(), source.stderr()
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_idle_guest(case):
    options = SMALL.but(pattern="idle")
    source = case.guest(options)
    destination = case.destination(options)
    case.migrate(source, destination)
    case.healthy(destination)
    sent = source.qmp.execute("query-migrate")["ram"]["transferred"]
    # 64 MiB of workload and a kernel; not the 256 MiB that the guest could have used.
    assert 64 << 20 <= sent <= 160 << 20, sent


@test()
def test_guest_with_a_balloon(case):
    # Each libvirt guest has one. It makes the source look for holes, in the pause too; that the
    # pause does not grow with that is for a unit test (RamSenderCost), which needs no large guest.
    options = SMALL.but(extra=("-device", "virtio-balloon-pci"))
    source = case.guest(options)
    destination = case.destination(options)
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_paused_guest_stays_paused(case):
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    source.qmp.execute("stop")
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    assert destination.qmp.execute("query-status")["running"] is False
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_guest_that_reboots_meanwhile(case):
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    boot = case.beats.last(source.name).boot
    mark = source.qmp.mark()
    case.beats.command(source.name, "reboot")
    source.qmp.wait_event("RESET", after=mark)
    start = time.monotonic()
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    beat = case.beats.wait(destination.name, 60, after=start, match=lambda b: b.boot != boot)
    assert beat.ready
    case.healthy(destination)


@test(machine=["pc", "microvm"])
def test_untouched_memory_costs_nothing(case, machine):
    """4 GiB of which little is touched; microvm splits it around the PCI hole too."""
    options = SMALL.but(machine=machine, memory="4G", working_set="200M")
    source = case.guest(options)
    destination = case.destination(options)
    case.migrate(source, destination)
    case.healthy(destination)
    if not paths.is_drover(case.emulator):
        return
    there, here = ram.allocated(source.pid), ram.allocated(destination.pid)
    # What the guest allocates after the switchover is not the migration's.
    assert here <= there + (16 << 20), f"source {there >> 20} MiB, destination {here >> 20} MiB"


@test(channels=[1, 4], incoming=["defer", "argument"])
def test_channels_and_ways_to_listen(case, channels, incoming):
    source = case.guest(SMALL)
    if incoming == "defer":
        destination = case.destination(SMALL)
    else:
        uri = f"unix:{case.scratch}/incoming"
        destination = case.vm(SMALL, incoming=uri)
        destination.uri = uri
        destination.qmp.negotiate()
    if paths.is_drover(case.emulator):
        source.qmp.execute("migrate-set-parameters", multifd__channels=channels)
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_bandwidth_limit_is_kept(case):
    options = SMALL.but(dirty=200, pattern="random-content")
    source, destination = case.guest(options), case.destination(options)
    limit = 20_000_000
    source.qmp.execute("migrate-set-parameters", max__bandwidth=limit)
    start = time.monotonic()
    case.migrate(source, destination)
    seconds = time.monotonic() - start
    sent = source.qmp.execute("query-migrate")["ram"]["transferred"]
    assert sent / seconds <= limit * 1.1, f"{sent} bytes in {seconds:.2f} s"
    assert sent / seconds >= limit * 0.5, f"{sent} bytes in {seconds:.2f} s"
    if paths.is_drover(case.emulator):
        first = source.qmp.execute("query-migrate")["drover"]["rounds"][0]
        rate = first["bytes"] / first["seconds"]
        assert 0.98 * limit < rate < 1.02 * limit, first


@test(timeout=240)
def test_ten_times_back_and_forth(case):
    """With its disk and a TCP connection that it keeps."""
    network = case.tap_network()
    peer = case.tcp_peer(network)
    options = SMALL.but(disk=case.disk(), network=network, tcp=peer.target)
    there = case.guest(options)
    for _ in range(10):
        here = case.destination(options)
        before = case.beats.last(there.name)
        case.migrate(there, here)
        there.stop()
        case.beats.wait(here.name, 5, match=lambda b: b.tcp_bytes > before.tcp_bytes
                        and b.disk_blocks > before.disk_blocks)
        there = here
    case.healthy(there)
    assert peer.problem is None, peer.problem
    assert peer.connections == 1, f"{peer.connections} connections"


@test()
def test_source_does_not_run_after_the_hand_over(case):
    """Not even if told to: a second copy would destroy the disks that both have open."""
    if not paths.is_drover(case.emulator):
        raise Skip("QEMU would run it")
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    case.migrate(source, destination)
    try:
        source.qmp.execute("cont")
        raise AssertionError("the source took cont")
    except QmpError as error:
        assert "destination" in error.desc, error.desc
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_report_says_what_happened(case):
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own report")
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    seen = case.migrate(source, destination)
    report = source.qmp.execute("query-migrate")
    rounds = report["drover"]["rounds"]
    assert rounds and rounds[0]["sent-pages"] >= 64 << 8, rounds
    assert [entry["round"] for entry in rounds] == sorted({entry["round"] for entry in rounds})
    assert report["drover"]["decision"], report
    # What it says of the downtime and what was seen outside differ by little.
    assert report["downtime"] <= seen.downtime_ms + 5, (report["downtime"], seen.downtime_ms)
    rate = analysis.rate(case.beats.between(0, time.monotonic(), source.name)[-500:])
    assert rate > 0
