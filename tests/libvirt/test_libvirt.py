# SPDX-License-Identifier: GPL-2.0-or-later
"""Drover as the <emulator> of a real libvirt: what people do with virsh. With --emulator the same on stock QEMU."""

import json
import os
import shutil
import subprocess
import threading

from drover_e2e import libvirt, paths, tls
from drover_e2e.case import Skip
from drover_e2e.libvirt import Hosts
from drover_e2e.runner import test

NIC = """<interface type='ethernet'><mac address='52:54:00:77:00:09'/><target dev='lvt9'/>
<model type='virtio'/></interface>"""
DISK = "/var/lib/libvirt/images/disk.raw"  # each host has its own


def fails_yet(case, why: str) -> None:
    """What Drover cannot do yet: known, and tried with DROVER_E2E_ALL=1 only."""
    if paths.is_drover(case.emulator) and "DROVER_E2E_ALL" not in os.environ:
        raise Skip(f"fails yet: {why}")


def actual_kib(host) -> int:
    lines = dict(line.split() for line in host.virsh("dommemstat", "g").splitlines())
    return int(lines["actual"])


@test()
def test_start_balloon_migrate_destroy(case):
    hosts = Hosts(case)
    capabilities = hosts.a.virsh("domcapabilities", "--emulatorbin", case.emulator, "--virttype", "qemu")
    assert "<domain>qemu</domain>" in capabilities and "pc-i440fx" in capabilities, capabilities[:500]
    hosts.start()
    hosts.a.virsh("setmem", "g", "163840", "--live")
    hosts.migrate(hosts.a, hosts.b, "--live")
    assert actual_kib(hosts.b) == 163840, actual_kib(hosts.b)
    case.healthy(hosts.b)
    hosts.b.virsh("destroy", "g")
    assert "g" not in hosts.b.virsh("list", "--name").split()


@test(timeout=240)
def test_ways_to_migrate(case):
    """One guest, to and fro, as virsh can move it."""
    hosts = Hosts(case)
    hosts.start()
    there, here = hosts.a, hosts.b
    for way in ("--p2p", "--parallel --parallel-connections 2", "--auto-converge --auto-converge-initial 30",
                "--timeout 1 --timeout-suspend --bandwidth 20", "--p2p --persistent --undefinesource"):
        print(f"virsh migrate --live {way}, {there.name} to {here.name}", flush=True)
        hosts.migrate(there, here, "--live", *way.split())
        there, here = here, there
    case.healthy(there)


@test()
def test_tunnelled(case):
    hosts = Hosts(case)
    hosts.start()
    hosts.migrate(hosts.a, hosts.b, "--live", "--p2p", "--tunnelled")
    case.healthy(hosts.b)


@test(timeout=240)
def test_tls(case):
    """virsh migrate --tls, as an administrator sets it up: certificates in each host's folder, then one option."""
    hosts = Hosts(case)
    fleet = tls.authority(case.scratch, "fleet")
    for host in (hosts.a, hosts.b):
        shutil.copytree(tls.host(fleet, host.name, host.address), host.directory / "etc" / "tls", dirs_exist_ok=True)
    hosts.start()
    there, here = hosts.a, hosts.b
    for way in ("", "--p2p", "--parallel --parallel-connections 2"):
        print(f"virsh migrate --live --tls {way}, {there.name} to {here.name}", flush=True)
        hosts.migrate(there, here, "--live", "--tls", *way.split())
        there, here = here, there
    case.healthy(there)
    # Another authority's host is not let in, and the guest stays where it is.
    shutil.rmtree(here.directory / "etc" / "tls")
    other = tls.authority(case.scratch, "other")
    shutil.copytree(tls.host(other, here.name, here.address), here.directory / "etc" / "tls")
    try:
        hosts.migrate(there, here, "--live", "--tls")
        raise AssertionError("it was let in")
    except libvirt.VirshError as error:
        print(error)
    hosts.runs_on(there)


@test()
def test_postcopy(case):
    """Drover's needs connections of its own making (--parallel); stock QEMU 7.2's cannot be parallel."""
    hosts = Hosts(case)
    hosts.start()
    ways = ["--parallel", "--parallel-connections", "2"] if paths.is_drover(case.emulator) else []
    virsh = hosts.a.start_virsh("migrate", "g", hosts.b.uri, "--unsafe", "--live", "--postcopy", "--bandwidth", "8",
                                *ways)
    next(info for info in libvirt.job_infos(hosts.a, virsh) if info.get("Data processed", 0) > 0)
    hosts.a.virsh("migrate-postcopy", "g")
    said = virsh.communicate(timeout=60)
    assert virsh.returncode == 0, said
    hosts.runs_on(hosts.b)
    case.healthy(hosts.b)


@test()
def test_progress_and_abort(case):
    hosts = Hosts(case)
    hosts.start()
    virsh = hosts.a.start_virsh("migrate", "g", hosts.b.uri, "--unsafe", "--live", "--bandwidth", "8")
    total, seen = 0, []
    for info in libvirt.job_infos(hosts.a, virsh):
        if "Memory total" not in info:
            continue
        total = info["Memory total"]
        seen.append((info["Memory processed"], info["Memory remaining"]))
        if seen[-1][0] > 24 << 20:
            break
    hosts.a.virsh("domjobabort", "g")
    assert virsh.wait(30) != 0
    first_round = [remaining for processed, remaining in seen if 0 < processed]
    assert first_round and all(remaining > 0 for remaining in first_round), seen
    assert first_round == sorted(first_round, reverse=True) and first_round[0] <= total, (total, seen)
    hosts.runs_on(hosts.a)
    hosts.migrate(hosts.a, hosts.b, "--live")
    case.healthy(hosts.b)


@test()
def test_copy_storage_all(case):
    hosts = Hosts(case)
    for host in (hosts.a, hosts.b):
        image = host.directory / "lib" / "images" / "disk.raw"
        image.parent.mkdir(exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(16 << 20)
    hosts.start(disk=DISK)
    hosts.migrate(hosts.a, hosts.b, "--live", "--copy-storage-all")
    case.healthy(hosts.b)


@test()
def test_save_and_restore(case):
    hosts = Hosts(case)
    hosts.start()
    file = str(case.directory / "saved")
    hosts.a.virsh("save", "g", file)
    assert hosts.a.state() == "shut off"
    hosts.a.virsh("restore", file)
    hosts.runs_on(hosts.a)
    hosts.a.virsh("managedsave", "g")
    hosts.a.virsh("start", "g")
    hosts.runs_on(hosts.a)
    case.healthy(hosts.a)


@test()
def test_dump_and_snapshot(case):
    hosts = Hosts(case)
    hosts.start()
    hosts.a.virsh("dump", "g", str(case.directory / "dumped"), "--memory-only", "--live")
    memory, overlay = case.directory / "snap.memory", case.directory / "snap.qcow2"
    hosts.a.virsh("snapshot-create-as", "g", "snap", "--live", "--memspec", f"file={memory},snapshot=external",
                  "--diskspec", f"vda,snapshot=external,file={overlay}")
    assert memory.stat().st_size > 32 << 20
    hosts.runs_on(hosts.a)
    case.healthy(hosts.a)


@test()
def test_memory_hotplug(case):
    hosts = Hosts(case)
    hosts.start(max_memory="1048576")
    dimm = case.directory / "dimm.xml"
    dimm.write_text(libvirt.DIMM, encoding="ascii")
    hosts.a.virsh("attach-device", "g", str(dimm), "--live")
    hosts.migrate(hosts.a, hosts.b, "--live")
    plugged = json.loads(hosts.b.virsh("qemu-monitor-command", "g", '{"execute":"query-memory-devices"}'))["return"]
    assert [device["data"]["size"] for device in plugged] == [128 << 20], plugged
    case.healthy(hosts.b)


@test()
def test_nic_unplugged(case):
    """Its tap device goes with it."""
    hosts = Hosts(case)
    hosts.start()
    nic = case.directory / "nic.xml"
    nic.write_text(NIC, encoding="ascii")
    hosts.a.virsh("attach-device", "g", str(nic), "--live")
    assert "lvt9" in hosts.a.namespace.run("ip", "-o", "link")
    event = threading.Thread(target=hosts.a.virsh, args=("event", "g", "device-removed", "--timeout", "40"))
    event.start()
    hosts.a.virsh("detach-device", "g", str(nic), "--live")
    event.join()
    assert "lvt9" not in hosts.a.namespace.run("ip", "-o", "link")


@test()
def test_statistics(case):
    """libvirt reads them of the process that the pidfile names."""
    hosts = Hosts(case)
    hosts.start()
    stats = dict(line.split("=") for line in hosts.a.virsh("domstats", "g", "--cpu-total", "--balloon").split()
                 if "=" in line)
    assert int(stats["cpu.time"]) > 1e9, stats
    assert int(stats["balloon.rss"]) > 60 << 10, stats


@test()
def test_private_memory_pinned_threads(case):
    """libvirt's default for memory in files is private, which QEMU's stream carries; pins are set by the pid."""
    hosts = Hosts(case)
    hosts.start(backing="<source type='file'/>")
    hosts.a.virsh("emulatorpin", "g", "1", "--live")
    status = subprocess.check_output(hosts.a.command(
        "sh", "-c", "cat /proc/$(cat /run/libvirt/qemu/g.pid)/status"), text=True)
    assert "Name:\tqemu-system" in status and "Cpus_allowed_list:\t1\n" in status, status
    hosts.migrate(hosts.a, hosts.b, "--live")
    case.healthy(hosts.b)


@test()
def test_postcopy_after_precopy(case):
    """virsh waits for the event of the second round, and then asks for post-copy."""
    hosts = Hosts(case)
    hosts.start()
    hosts.migrate(hosts.a, hosts.b, "--live", "--postcopy", "--postcopy-after-precopy", "--bandwidth", "60",
                  "--parallel", "--parallel-connections", "2")
    case.healthy(hosts.b)


@test()
def test_copy_storage_with_a_checkpoint(case):
    """A backup's bitmap goes with the disk."""
    hosts = Hosts(case)
    for host in (hosts.a, hosts.b):
        image = host.directory / "lib" / "images" / "disk.qcow2"
        image.parent.mkdir(exist_ok=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"], check=True)
    hosts.start(disk=DISK.replace("raw", "qcow2"), format="qcow2")
    hosts.a.virsh("checkpoint-create-as", "g", "before")
    hosts.migrate(hosts.a, hosts.b, "--live", "--copy-storage-all")
    nodes = json.loads(hosts.b.virsh("qemu-monitor-command", "g", '{"execute":"query-named-block-nodes"}'))["return"]
    bitmaps = [bitmap["name"] for node in nodes for bitmap in node.get("dirty-bitmaps", [])]
    assert "before" in bitmaps, bitmaps
    case.healthy(hosts.b)
