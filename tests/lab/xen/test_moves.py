# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move, while they run, between an emulated Xen host and QEMU under Drover on the machine that emulates
it."""

import json
import subprocess

from drover_e2e import xen
from drover_e2e.drover_xen import DroverXen
from drover_e2e.outer import Outer
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL

# A place for the tables of Xen's firmware, which QEMU's machine has not.
HOME = ("-object", "memory-backend-ram,id=acpihole,size=2M", "-device", "ivshmem-plain,memdev=acpihole,master=on")


def domains() -> list[str]:
    said = subprocess.run(["xl", "list", "-l"], capture_output=True, check=True).stdout
    return [domain["config"]["c_info"]["name"] for domain in json.loads(said) if domain["domid"] != 0]


def tell(info: dict) -> None:
    print(f"TOLD moved in {info['total-time'] / 1000:.1f} s, downtime {info['downtime']} ms")


@test(timeout=240, smp=[1, 2])
def test_from_xen(case, smp):
    options = NEUTRAL.but(smp=smp)
    guest = xen.booted(case, f"leaves{smp}", options)
    there, uri = Outer().destination(smp=smp, extra=list(HOME))
    case.keep(there)
    server = DroverXen(case, "server", "serve", guest.name)
    assert server.qmp.execute("query-status")["status"] == "running"
    before = guest.told()
    tell(server.ended(server.migrate(uri), "completed"))
    assert server.qmp.execute("query-status")["status"] == "postmigrate"
    assert guest.name in domains()
    after = there.told(after=before.number)
    assert after.verified > before.verified and after.wrong == 0, (before, after)
    there.healthy()
    assert server.quit() == 0
    guest.gone()
    assert guest.name not in domains()


@test(timeout=240)
def test_given_up(case):
    """While it is copied, and when it stands still already: it goes on here, and can be moved afterwards."""
    guest = xen.booted(case, "stays")
    server = DroverXen(case, "server", "serve", guest.name)
    there, uri = Outer().destination(extra=list(HOME))
    server.qmp.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
    mark = server.migrate(uri)
    server.qmp.wait_migration("active", after=mark)
    guest.told(after=guest.told().number + 1)
    server.qmp.execute("migrate_cancel")
    server.ended(mark, "cancelled")
    there.close()
    guest.told(after=guest.told().number + 1)
    there, uri = Outer().destination(extra=list(HOME))
    server.qmp.execute("migrate-set-parameters", **{"max-bandwidth": 0})
    server.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "pause-before-switchover", "state": True}])
    mark = server.migrate(uri)
    server.qmp.wait_migration("pre-switchover", after=mark, timeout=60)
    assert server.qmp.execute("query-status")["status"] == "postmigrate"
    server.qmp.execute("migrate_cancel")
    server.ended(mark, "cancelled")
    there.close()
    assert server.qmp.execute("query-status")["status"] == "running"
    last = guest.healthy()
    there, uri = Outer().destination(extra=list(HOME))
    case.keep(there)
    mark = server.migrate(uri)
    server.qmp.wait_migration("pre-switchover", after=mark, timeout=60)
    server.qmp.execute("migrate-continue", state="pre-switchover")
    tell(server.ended(mark, "completed"))
    assert there.told(after=last.number).wrong == 0
    there.healthy()


@test(timeout=120)
def test_refused(case):
    """A destination without a place for its tables: before a page is sent."""
    guest = xen.booted(case, "refused")
    server = DroverXen(case, "server", "serve", guest.name)
    there, uri = Outer().destination()
    case.keep(there)
    info = server.ended(server.migrate(uri), "failed")
    assert "acpihole" in info["error-desc"], info
    guest.told(after=guest.told().number + 1)
