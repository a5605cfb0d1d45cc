# SPDX-License-Identifier: GPL-2.0-or-later
"""droverd in Dom0: guests of Xen's that are listed and measured by what Xen knows, and that move to a droverd of the
machine that emulates this one, where QEMU runs them, and home again."""

import os
import signal
import subprocess
import time

from drover_e2e import tale, xen
from drover_e2e.case import pages_of
from drover_e2e.console import Console
from drover_e2e.outer import Outer, OuterHost
from drover_e2e.qmp import Qmp, QmpError
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL
from drover_e2e.xen_fleet import XenDroverd, device_model, host_memory, processes_time, xen_time


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


@test(timeout=240, thorough=True)
def test_measured(case):
    """A guest's processor time is what Xen gave it; the host's figures are the machine's, and not Dom0's."""
    guest = xen.booted(case, "measured")
    host = XenDroverd(case)
    host.qmp.execute("vm-adopt", domain=guest.name)
    vm = host.vm(guest.name)
    assert (vm["kind"], vm["state"], vm["adopted"]) == ("xen", "running", True), vm
    told = guest.told(after=(tale.last(guest.console) or guest.told()).number + 2)  # two samples make a rate
    here = [vm["pid"], device_model(guest.name)]
    started, domain, dom0 = time.monotonic(), xen_time(guest.name), processes_time(here)
    guest.told(after=told.number + 10)
    seconds = time.monotonic() - started
    domain, dom0 = (xen_time(guest.name) - domain) / seconds, (processes_time(here) - dom0) / seconds
    loads = host.load(guest.name, seconds)
    ours = mean(load["cpu"] for load in loads)
    print(f"TOLD {ours:.3f} cores in {seconds:.1f} s; the domain by xl {domain:.3f}, its processes {dom0:.3f}")
    assert domain > 0.02 and abs(ours - domain - dom0) < 0.1 + 0.2 * ours, (ours, domain, dom0)
    assert loads[-1]["vcpus"] == 1 and 127 << 20 <= loads[-1]["resident"] < 130 << 20, loads[-1]
    load = host.qmp.execute("query-host-load")[-1]
    print(f"TOLD {load}")
    assert load["cores"] == 1 and domain / 2 < load["cpu-busy"] <= 1, load
    assert abs(load["memory-total"] - host_memory()) < 2 << 20, load
    assert load["memory-available"] < load["memory-total"] / 2, load  # Dom0 has most of it
    mark = host.qmp.mark()
    subprocess.run(["xl", "pause", guest.name], check=True)
    host.becomes(guest.name, "paused", mark)
    subprocess.run(["xl", "unpause", guest.name], check=True)
    host.becomes(guest.name, "running", mark)
    guest.healthy()


def comes_home(here: XenDroverd, there: OuterHost, name: str) -> None:
    """On a machine that does other things beside, an emulated host may be silent for too long in the pause: the guest
    then stays where it is, and comes with the next try."""
    definition = there.vm(name)["definition"]
    for move in ("home", "home-2", "home-3"):
        mark = here.qmp.mark()
        here.qmp.execute("vm-prepare", migration=move, definition=definition, timeout=60)
        there.migrate(name, move)
        if here.migration(move, mark, "completed", "failed") == "completed":
            return
        here.becomes(name, "gone", mark)
    raise AssertionError("it did not come")


@test(timeout=300)
def test_moves_and_comes_home(case):
    """Ordered of both droverds, as the balancer does. Who serves the guest may die, and droverd: it is found again."""
    guest = xen.booted(case, "roams")
    here, there = XenDroverd(case), case.keep(Outer().host())
    home = Console(str(case.scratch / "home.sock"), str(case.directory / "home.console.log"))
    file = case.directory / "home.cfg"
    file.write_text(xen.configuration(guest.name, NEUTRAL, f"unix:{home.path}"))
    command = there.command(guest.name, extra=list(xen.PLACE_FOR_TABLES))
    here.qmp.execute("vm-adopt", domain=guest.name, definition={"xen-config": str(file), "command": command})

    vm = here.vm(guest.name)
    assert (vm["kind"], vm["state"], vm["adopted"]) == ("xen", "running", True), vm

    mark, before = here.qmp.mark(), tale.last(guest.console) or guest.told()
    definition = here.vm(guest.name)["definition"]
    uri = there.execute("vm-prepare", migration="out", definition=definition)["uri"]
    here.qmp.execute("vm-migrate", migration="out", name=guest.name, uri=uri)
    here.migration("out", mark, "completed")
    here.becomes(guest.name, "gone", mark)
    guest.gone()
    after = there.guest(guest.name).told(after=before.number)
    assert after.wrong == 0 and after.verified > before.verified, (before, after)
    assert there.vm(guest.name)["kind"] == "drover"

    comes_home(here, there, guest.name)
    guest.arrived()
    here.is_now(guest.name, "running")
    vm = here.vm(guest.name)
    assert vm["kind"] == "xen", vm
    assert tale.wait(home, lambda told: told.number > after.number, 60).wrong == 0

    mark = here.qmp.mark()
    os.kill(vm["pid"], signal.SIGKILL)
    here.becomes(guest.name, "unreachable", mark)
    here.becomes(guest.name, "running", mark)
    load = here.qmp.execute("query-load")
    assert [guest.name] == [vm["name"] for vm in load["vms"]] and load["vms"][0]["resident"] > 127 << 20, load
    assert load["host"]["memory-total"] > 4000 << 20, load  # the machine's, and not Dom0's
    here.kill()
    here.start()
    assert here.vm(guest.name)["definition"]["kind"] == "xen"
    last = tale.wait(home, lambda told: True, 60)
    assert last.wrong == 0
    mark = here.qmp.mark()
    here.qmp.execute("vm-end", name=guest.name, force=True)
    here.becomes(guest.name, "shut-off", mark)
    guest.gone()


@test(timeout=120, thorough=True)
def test_refused(case):
    """What does not say how Xen runs it, or says it by a file that others may write."""
    host = XenDroverd(case)
    file = case.directory / "loose.cfg"
    file.write_text(xen.configuration("loose", NEUTRAL, "none"))
    file.chmod(0o666)
    plain = {"name": "loose", "command": ["-M", "pc"]}
    for more, words in (({}, "how Xen runs it"), ({"xen-config": str(file)}, "may write it"),
                        ({"xen-config": "/drover/build/guest/initrd"}, "outside")):
        try:
            host.qmp.execute("vm-prepare", migration=f"m{len(more)}{words[0]}", definition={**plain, **more})
            raise AssertionError(f"{more} was taken")
        except QmpError as error:
            assert words in error.desc, error


@test(timeout=240, thorough=True)
def test_made_and_ended(case):
    """By its file: made, not twice, ended by others, begun by others, ended by us, made again."""
    host = XenDroverd(case)
    guest = xen.XenGuest(case, "made").arrived()
    definition = {"name": guest.name, "kind": "xen", "xen-config": str(guest.file)}
    host.qmp.execute("vm-create", definition=definition, timeout=60)
    assert host.vm(guest.name)["state"] == "running"
    mark = host.qmp.mark()
    subprocess.run(["xl", "destroy", guest.name], check=True)
    host.becomes(guest.name, "shut-off", mark)
    mark = host.qmp.mark()
    subprocess.run(["xl", "create", "-q", str(guest.file)], check=True, stdout=subprocess.DEVNULL)
    host.becomes(guest.name, "running", mark)
    mark = host.qmp.mark()
    host.qmp.execute("vm-end", name=guest.name, force=True)
    host.becomes(guest.name, "shut-off", mark)
    host.qmp.execute("vm-start", name=guest.name, timeout=60)
    assert host.vm(guest.name)["state"] == "running"
    host.qmp.execute("vm-end", name=guest.name, force=True)
    guest.gone()
    other = xen.XenGuest(case, "other").create()
    try:
        host.qmp.execute("vm-create", definition={**definition, "name": other.name, "xen-config": str(other.file)})
        raise AssertionError("a second one was made")
    except QmpError as error:
        assert "there is a domain" in error.desc, error
    try:
        host.qmp.execute("vm-create", definition={**definition, "name": "third"}, timeout=60)
        raise AssertionError("made by another guest's file")
    except QmpError as error:
        assert f"is of the guest {guest.name}" in error.desc, error


@test(timeout=300, thorough=True)
def test_those_who_move_it_die(case):
    """At the source: the guest runs on here, or stands still here, and the migration has failed."""
    guest = xen.booted(case, "stays")
    here, there = XenDroverd(case), case.keep(Outer().host())
    command = there.command(guest.name, extra=list(xen.PLACE_FOR_TABLES))
    here.qmp.execute("vm-adopt", domain=guest.name, definition={"xen-config": str(guest.file), "command": command})
    definition = here.vm(guest.name)["definition"]

    def begin(move: str, **parameters) -> int:
        uri = there.execute("vm-prepare", migration=move, definition=definition)["uri"]
        mark = here.qmp.mark()
        here.qmp.execute("vm-execute", name=guest.name, command="migrate-set-parameters", arguments=parameters)
        here.qmp.execute("vm-migrate", migration=move, name=guest.name, uri=uri)
        here.migration(move, mark, "active")
        return mark

    mark = begin("copying", **{"max-bandwidth": 1 << 20})
    os.kill(here.vm(guest.name)["pid"], signal.SIGKILL)
    here.migration("copying", mark, "failed")
    said = here.qmp.execute("query-vm-migration", migration="copying")
    assert said["guest-here"] and "runs here on" in said["error"], said
    here.becomes(guest.name, "running", mark)
    there.abandon(guest.name, "copying")
    last = tale.healthy(guest.console, pages_of(NEUTRAL.working_set), 120)

    def begin_and_pause(move: str) -> int:
        """It stands still, and all of it has been sent, when droverd dies; the process that moves it."""
        there.command(guest.name, extra=list(xen.PLACE_FOR_TABLES))
        here.qmp.execute("vm-execute", name=guest.name, command="migrate-set-capabilities",
                         arguments={"capabilities": [{"capability": "pause-before-switchover", "state": True}]})
        begin(move, **{"max-bandwidth": 0})
        pid = here.vm(guest.name)["pid"]
        here.kill()
        monitor = Qmp.connect(here.monitor(guest.name))
        if monitor.execute("query-migrate")["status"] != "pre-switchover":
            monitor.wait_migration("pre-switchover", timeout=60)
        assert monitor.execute("query-status")["status"] == "postmigrate"
        monitor.close()
        return pid

    begin_and_pause("cancelled")
    here.start()
    here.is_now(guest.name, "moving")
    here.qmp.execute("vm-cancel", migration="cancelled")
    here.migration("cancelled", 0, "cancelled")
    there.abandon(guest.name, "cancelled")
    assert tale.wait(guest.console, lambda told: told.number > last.number, 60).wrong == 0

    os.kill(begin_and_pause("stands"), signal.SIGKILL)
    here.start()
    here.migration("stands", 0, "failed")
    said = here.qmp.execute("query-vm-migration", migration="stands")
    assert not said["guest-here"] and "stands still" in said["error"], said
    here.is_now(guest.name, "paused")
    there.abandon(guest.name, "stands")
    last = tale.last(guest.console)
    here.qmp.execute("vm-execute", name=guest.name, command="cont")
    assert tale.wait(guest.console, lambda told: told.number > last.number, 60).wrong == 0
