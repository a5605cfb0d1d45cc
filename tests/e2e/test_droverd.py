# SPDX-License-Identifier: GPL-2.0-or-later
"""droverd: VMs created, adopted, moved and ended on hosts in slices of this machine, without a
balancer. A droverd that is killed loses nothing."""

import os
import re
import signal
import time

from drover_e2e import net, paths
from drover_e2e.case import Skip
from drover_e2e.fleet import CGROUPS, SINK, SINK_PORT, Control, Fleet, Guest, Slice
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test

OVER = ("completed", "failed", "cancelled")


def hosts(case, **options) -> Fleet:
    if reason := net.why_not():
        raise Skip(reason)
    return case.keep(Fleet(2, Slice(cores=1.5, link=50_000_000), **options))


def boot(fleet: Fleet, guest: Guest, host: str = "h1") -> Control:
    fleet.hosts[host].create(guest)
    return fleet.hosts[host].control(guest.name).ready()


def definition(fleet: Fleet, name: str, host: str = "h1") -> dict:
    return next(vm["definition"] for vm in fleet.hosts[host].qmp.execute("query-vms")
                if vm["name"] == name)


def begin_move(fleet: Fleet, name: str, move: str = "m1", **more) -> None:
    uri = fleet.hosts["h2"].qmp.execute("vm-prepare", migration=move,
                                        definition=definition(fleet, name))["uri"]
    fleet.hosts["h1"].qmp.execute("vm-migrate", migration=move, name=name, uri=uri, **more)


def wait_for(what, limit: float = 60):
    """Looks each tenth of a second: other processes' states make no events for us."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.1)
    raise TimeoutError("it did not come to pass")


def end_of(fleet: Fleet, host: str, move: str = "m1") -> dict:
    def over():
        info = fleet.hosts[host].qmp.execute("query-vm-migration", migration=move)
        return info if info["status"] in OVER else None
    return wait_for(over)


def runs_only_on(fleet: Fleet, name: str, host: str) -> None:
    wait_for(lambda: fleet.where(name) == [host])
    assert fleet.hosts[host].control(name).tell("status").endswith("errors 0")


@test(kind=["drover", "qemu"])
def test_a_move(case, kind):
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10", kind=kind))
    begin_move(fleet, "web1", policy="downtime=200ms")
    assert end_of(fleet, "h1")["status"] == "completed"
    runs_only_on(fleet, "web1", "h2")
    wait_for(lambda: not fleet.hosts["h1"].qmp.execute("query-vms"))  # the old emulator is ended


@test(kind=["drover", "qemu"])
def test_a_move_inside_tls(case, kind):
    """Where hosts have certificates, nothing more is needed: their guests move inside TLS, between hosts that prove who
    they are."""
    fleet = hosts(case, tls=True)
    boot(fleet, Guest("web1", "10.80.1.10", kind=kind))
    where = fleet.hosts["h2"].qmp.execute("vm-prepare", migration="m0", definition=definition(fleet, "web1"))
    assert where["tls-hostname"] == "h2", where
    # The address is in no certificate: somebody else might answer there.
    fleet.hosts["h1"].qmp.execute("vm-migrate", migration="m0", name="web1", uri=where["uri"])
    end = end_of(fleet, "h1", "m0")
    assert end["status"] == "failed", end
    runs_only_on(fleet, "web1", "h1")
    fleet.hosts["h2"].qmp.execute("vm-abandon", migration="m0")
    wait_for(lambda: not fleet.hosts["h2"].qmp.execute("query-vms"))
    where = fleet.hosts["h2"].qmp.execute("vm-prepare", migration="m1", definition=definition(fleet, "web1"))
    fleet.hosts["h1"].qmp.execute("vm-migrate", migration="m1", name="web1", policy="downtime=200ms", **where)
    assert end_of(fleet, "h1")["status"] == "completed"
    runs_only_on(fleet, "web1", "h2")
    parameters = fleet.hosts["h2"].qmp.execute("vm-execute", name="web1", command="query-migrate-parameters")
    assert parameters["tls-creds"] and parameters["tls-authz"], parameters


def begin_held_move(fleet: Fleet, name: str, source: str = "h1", target: str = "h2", move: str = "m1") -> None:
    """As a balancer begins it: stock QEMU's guest is to stand until the source's word is known."""
    uri = fleet.hosts[target].qmp.execute("vm-prepare", migration=move, confirms=True,
                                          definition=definition(fleet, name, source))["uri"]
    fleet.hosts[source].qmp.execute("vm-migrate", migration=move, name=name, uri=uri)


def status_at(fleet: Fleet, host: str, move: str = "m1") -> str:
    return fleet.hosts[host].qmp.execute("query-vm-migration", migration=move)["status"]


@test(paused=[False, True])
def test_a_stock_guest_waits_for_its_sources_word(case, paused):
    """Stock QEMU's two sides can both run a guest, if their link breaks at the end: the destination's does not run
    before somebody has heard the source say that it went. It runs if it ran."""
    fleet = hosts(case)
    control = boot(fleet, Guest("web1", "10.80.1.10", kind="qemu"))
    if paused:
        control.close()
        fleet.hosts["h1"].qmp.execute("vm-execute", name="web1", command="stop")
    begin_held_move(fleet, "web1")
    assert end_of(fleet, "h1")["status"] == "completed"
    wait_for(lambda: status_at(fleet, "h2") == "asking")
    tell = fleet.hosts["h2"].qmp.execute
    assert not tell("vm-execute", name="web1", command="query-status")["running"]
    ran = fleet.hosts["h1"].qmp.execute("query-vm-migration", migration="m1")["guest-ran"]
    assert ran is not paused
    fleet.hosts["h2"].kill()  # who held it still does, and knows why
    fleet.hosts["h2"].start()
    wait_for(lambda: fleet.hosts["h2"].qmp.execute("query-vms")[0]["run-state"])  # it has its monitor again
    assert status_at(fleet, "h2") == "asking"
    fleet.hosts["h2"].qmp.execute("vm-confirm", migration="m1", run=ran)
    fleet.hosts["h2"].qmp.execute("vm-confirm", migration="m1", run=ran)  # once more is no error
    assert status_at(fleet, "h2") == "completed"
    if not paused:
        runs_only_on(fleet, "web1", "h2")
    status = fleet.hosts["h2"].qmp.execute("vm-execute", name="web1", command="query-status")
    assert status["running"] is not paused, status


@test(timeout=180)
def test_a_paused_stock_guest_with_a_disk_moves_there_and_back(case):
    """Its disks are its destination's once it has come, though nothing ran there: QEMU that never had them could
    not hand them on (7.2 aborts)."""
    fleet = hosts(case)
    disk = fleet.directory / "disk.raw"  # where guests' files are allowed to be
    disk.write_bytes(bytes(4 << 20))
    boot(fleet, Guest("web1", "10.80.1.10", kind="qemu", disk=str(disk))).close()
    fleet.hosts["h1"].qmp.execute("vm-execute", name="web1", command="stop")
    for move, source, target in (("m1", "h1", "h2"), ("m2", "h2", "h1")):
        begin_held_move(fleet, "web1", source, target, move)
        assert end_of(fleet, source, move)["status"] == "completed"
        wait_for(lambda at=target, it=move: status_at(fleet, at, it) == "asking")
        fleet.hosts[target].qmp.execute("vm-confirm", migration=move, run=False)
        assert status_at(fleet, target, move) == "completed"
        wait_for(lambda at=source: not fleet.hosts[at].qmp.execute("query-vms"))
    tell = fleet.hosts["h1"].qmp.execute
    assert tell("vm-execute", name="web1", command="query-status")["status"] == "paused"
    tell("vm-execute", name="web1", command="cont")
    runs_only_on(fleet, "web1", "h1")


@test()
def test_a_source_that_is_gone_leaves_the_word_to_the_operator(case):
    """Its host has burnt down, as far as anybody can tell: the guest stands until somebody says that it runs nowhere
    else, and then runs."""
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10", kind="qemu")).close()
    begin_held_move(fleet, "web1")
    wait_for(lambda: status_at(fleet, "h2") == "asking")
    for vm in fleet.hosts["h1"].qmp.execute("query-vms"):
        os.kill(vm["pid"], signal.SIGKILL)
    fleet.hosts["h1"].kill()
    target = fleet.hosts["h2"].qmp
    assert not target.execute("vm-execute", name="web1", command="query-status")["running"]
    target.execute("vm-confirm", migration="m1")
    assert status_at(fleet, "h2") == "completed"
    assert fleet.hosts["h2"].control("web1").tell("status").endswith("errors 0")


@test()
def test_a_stock_guest_that_is_held_in_vain(case):
    """Its source says that it runs the guest: nobody but who says so ends the one that came."""
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10", kind="qemu")).close()
    begin_held_move(fleet, "web1")
    wait_for(lambda: status_at(fleet, "h2") == "asking")
    target = fleet.hosts["h2"].qmp
    try:
        target.execute("vm-abandon", migration="m1")
        raise AssertionError("it ended the guest")
    except QmpError as error:
        assert "may be on this host" in str(error), error
    target.execute("vm-abandon", migration="m1", guest__at__source=True)
    wait_for(lambda: not target.execute("query-vms"))


@test(kind=["drover", "qemu"])
def test_an_adopted_vm_moves(case, kind):
    """A VM that somebody else started, with a QMP socket of its own."""
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10", kind=kind)).close()
    old = definition(fleet, "web1")
    home = fleet.hosts["h1"]
    socket = f"/tmp/drover-own-{os.getpid()}.qmp"
    words = [word.replace("ifname=web1", "ifname=web9").replace("${run}", str(home.directory / "run/web1"))
             .replace("control.sock", "other.sock") for word in old["command"]]
    home.namespace.run("ip", "tuntap", "add", "dev", "web9", "mode", "tap")
    emulator = paths.QEMU if kind == "qemu" else paths.DROVER
    home.namespace.run(emulator, *words, "-name", "web2", "-qmp", f"unix:{socket},server=on,wait=off",
                       "-daemonize")
    home.qmp.execute("vm-adopt", timeout=60, socket=socket)
    adopted = next(vm for vm in home.qmp.execute("query-vms") if vm["name"] == "web2")
    assert adopted["adopted"] and adopted["kind"] == kind and adopted["state"] == "running", adopted
    assert socket not in " ".join(adopted["definition"]["command"])
    load = wait_for(lambda: home.qmp.execute("query-vm-load", name="web2"), 5)
    assert load[-1]["name"] == "web2"
    fleet.hosts["h2"].namespace.run("ip", "tuntap", "add", "dev", "web9", "mode", "tap")
    # Its sockets are files of this one machine: the old emulator's make way for the new one's.
    (home.directory / "run/web1/other.sock").unlink()
    begin_move(fleet, "web2")
    assert end_of(fleet, "h1")["status"] == "completed"
    wait_for(lambda: fleet.where("web2") == ["h2"])


@test(victim=["source", "destination", "both"])
def test_a_killed_droverd_goes_on(case, victim):
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10"))
    begin_move(fleet, "web1", policy="bandwidth=10MB/s")
    killed = {"source": ["h1"], "destination": ["h2"], "both": ["h1", "h2"]}[victim]
    wait_for(lambda: fleet.hosts["h1"].qmp.execute("query-vm-migration", migration="m1")["status"] == "active")
    for name in killed:
        fleet.hosts[name].kill()
    for name in killed:
        fleet.hosts[name].start()
    assert end_of(fleet, "h1")["status"] == "completed"
    assert end_of(fleet, "h2")["status"] == "completed"
    runs_only_on(fleet, "web1", "h2")


@test()
def test_a_cancelled_move_stays(case):
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10"))
    begin_move(fleet, "web1", policy="bandwidth=1MB/s")
    wait_for(lambda: fleet.hosts["h1"].qmp.execute("query-vm-migration", migration="m1")["status"] == "active")
    fleet.hosts["h1"].qmp.execute("vm-cancel", migration="m1")
    assert end_of(fleet, "h1")["status"] == "cancelled"
    fleet.hosts["h2"].qmp.execute("vm-abandon", migration="m1")
    runs_only_on(fleet, "web1", "h1")
    wait_for(lambda: not fleet.hosts["h2"].qmp.execute("query-vms"))


@test()
def test_a_vm_outlives_a_power_cut(case):
    fleet = hosts(case)
    home = fleet.hosts["h1"]
    boot(fleet, Guest("web1", "10.80.1.10", more="autostart = true")).close()
    boot(fleet, Guest("web2", "10.80.1.11", memory="96M")).close()
    home.cut_power()
    home.start()
    assert {vm["name"]: vm["state"] == "shut-off" for vm in home.qmp.execute("query-vms")} == {
        "web1": False, "web2": True}
    wait_for((home.directory / "run" / "web1" / "control.sock").exists)  # it starts beside droverd
    home.control("web1").ready(120).close()
    home.qmp.execute("vm-start", timeout=60, name="web2")
    home.control("web2").ready(120).close()
    home.qmp.execute("host-shut-down", timeout=60, limit=1)
    assert {vm["state"] for vm in home.qmp.execute("query-vms")} == {"shut-off"}


@test()
def test_no_second_copy(case):
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10"))
    for again in range(2):
        try:
            fleet.hosts["h1"].create(Guest("web1", "10.80.1.10"))
            raise AssertionError("it was started twice")
        except QmpError as error:
            assert "already" in str(error), error
        if again == 0:
            fleet.hosts["h1"].kill()
            fleet.hosts["h1"].start()
    runs_only_on(fleet, "web1", "h1")


@test()
def test_the_load_is_what_the_guest_does(case):
    fleet = hosts(case)
    control = boot(fleet, Guest("web1", "10.80.1.10", expected_bandwidth=3_000_000))
    qmp = fleet.hosts["h1"].qmp
    control.tell("cpu 80")
    control.tell(f"net {SINK}:{SINK_PORT} 2000000")
    busy = wait_for(lambda: [load for load in qmp.execute("query-vm-load", name="web1")
                             if load["cpu"] > 0.6 and load["nics"][0]["tx"] > 1_500_000], 20)[-1]
    assert busy["nics"][0]["expected"] == 3_000_000
    assert not busy["nics"][0]["wants-more"], "it sends less than it was promised because it wants less"
    host = qmp.execute("query-host-load")[-1]
    assert host["slice"] and host["cores"] == 1.5 and host["cpu-busy"] > 0.6, host
    control.tell("cpu 0")
    control.tell(f"net {SINK}:{SINK_PORT} 0")  # what sending costs an emulated processor is the machine's affair
    wait_for(lambda: qmp.execute("query-vm-load", name="web1")[-1]["cpu"] < 0.4, 20)


@test()
def test_a_quota_is_no_want_of_processors(case):
    """A guest that computes all the time, and may use three tenths of a processor, wants no more than these."""
    fleet = hosts(case)
    control = boot(fleet, Guest("web1", "10.80.1.10"))
    group = CGROUPS / "cpu" / fleet.hosts["h1"].cgroup
    if not group.is_dir():
        raise Skip("no control groups of version 1 here: of version 2 only unit tests tell")
    capped = group / "drover-capped"  # a name that the harness removes
    capped.mkdir()
    (capped / "cpu.cfs_quota_us").write_text("30000", encoding="ascii")
    for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
        (capped / "cgroup.procs").write_text(pid, encoding="ascii")
    control.tell("cpu 100")
    qmp = fleet.hosts["h1"].qmp

    def throttled() -> int:
        words = (capped / "cpu.stat").read_text(encoding="ascii").split()
        return int(words[words.index("nr_throttled") + 1])

    def wants_its_quota():
        """The groups of its threads are looked at each ten seconds. (On a busy machine it gets less than its
        quota, and waits for the rest.)"""
        loads = qmp.execute("query-vm-load", name="web1", seconds=3)[-2:]
        return all(0.05 < load["cpu"] and load["cpu"] + load["cpu-wait"] < 0.45 for load in loads) and loads
    wait_for(lambda: throttled() > 20)
    wait_for(wants_its_quota, 40)


@test()
def test_a_guest_that_is_held_back_wants_more(case):
    if reason := net.why_not():
        raise Skip(reason)
    fleet = case.keep(Fleet(2, Slice(cores=1.8, link=2_000_000)))
    control = boot(fleet, Guest("web1", "10.80.1.10", expected_bandwidth=3_000_000))
    control.tell(f"net {SINK}:{SINK_PORT} 3500000")
    qmp = fleet.hosts["h1"].qmp
    nic = wait_for(lambda: [load["nics"][0] for load in qmp.execute("query-vm-load", name="web1")
                            if load["nics"][0]["wants-more"]], 20)[-1]
    assert nic["tx"] < 2_400_000, nic  # what is dropped at the uplink was not achieved


@test()
def test_metrics(case):
    fleet = hosts(case)
    boot(fleet, Guest("web1", "10.80.1.10"))
    host = fleet.hosts["h1"]
    host.daemon.stop()
    host.config.write_text(host.config.read_text() + "[metrics]\nport = 9701\n")
    host.start()
    text = host.namespace.run("python3", "-c", "import urllib.request as u; "
                              "print(u.urlopen('http://127.0.0.1:9701/metrics').read().decode())")
    assert re.search(r'^drover_vm_[a-z_]+\{.*vm="web1".*\} ', text, re.M), text[:2000]
    assert re.search(r"^drover_host_[a-z_]+", text, re.M)
