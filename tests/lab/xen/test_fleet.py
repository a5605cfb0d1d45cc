# SPDX-License-Identifier: GPL-2.0-or-later
"""droverd in Dom0: guests of Xen's that are listed and measured by what Xen knows, and that move to a droverd of the
machine that emulates this one, where QEMU runs them, and home again."""

import os
import signal
import subprocess
import time

from drover_e2e import tale, xen
from drover_e2e.console import Console
from drover_e2e.outer import Outer
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL
from drover_e2e.xen_fleet import XenDroverd, device_model, host_memory, processes_time, xen_time

# A place for the tables of Xen's firmware, which QEMU's machine has not.
HOME = ("-object", "memory-backend-ram,id=acpihole,size=2M", "-device", "ivshmem-plain,memdev=acpihole,master=on")


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


@test(timeout=240)
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


@test(timeout=300)
def test_moves_and_comes_home(case):
    """Ordered of both droverds, as the balancer does. Who serves the guest may die, and droverd: it is found again."""
    guest = xen.booted(case, "roams")
    here, there = XenDroverd(case), case.keep(Outer().host())
    home = Console(str(case.scratch / "home.sock"), str(case.directory / "home.console.log"))
    file = case.directory / "home.cfg"
    file.write_text(xen.configuration(guest.name, NEUTRAL, f"unix:{home.path}"))
    command = there.command(guest.name, extra=list(HOME))
    here.qmp.execute("vm-adopt", domain=guest.name, definition={"xen-config": str(file), "command": command})

    mark, before = here.qmp.mark(), tale.last(guest.console) or guest.told()
    definition = here.vm(guest.name)["definition"]
    uri = there.execute("vm-prepare", migration="out", definition=definition)["uri"]
    here.qmp.execute("vm-migrate", migration="out", name=guest.name, uri=uri)
    here.migration("out", "completed", mark)
    here.becomes(guest.name, "gone", mark)
    guest.gone()
    after = there.guest(guest.name).told(after=before.number)
    assert after.wrong == 0 and after.verified > before.verified, (before, after)
    assert there.vm(guest.name)["kind"] == "drover"

    mark = here.qmp.mark()
    definition = there.vm(guest.name)["definition"]
    here.qmp.execute("vm-prepare", migration="home", definition=definition, timeout=60)
    there.migrate(guest.name, "home")
    here.migration("home", "completed", mark)
    guest.arrived()
    vm = here.vm(guest.name)
    assert (vm["kind"], vm["state"]) == ("xen", "running"), vm
    assert tale.wait(home, lambda told: told.number > after.number, 60).wrong == 0

    mark = here.qmp.mark()
    os.kill(vm["pid"], signal.SIGKILL)
    here.becomes(guest.name, "unreachable", mark)
    here.becomes(guest.name, "running", mark)
    here.kill()
    here.start()
    assert here.vm(guest.name)["definition"]["kind"] == "xen"
    last = tale.wait(home, lambda told: True, 60)
    assert last.wrong == 0
    mark = here.qmp.mark()
    here.qmp.execute("vm-end", name=guest.name, force=True)
    here.becomes(guest.name, "shut-off", mark)
    guest.gone()


@test(timeout=120)
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
