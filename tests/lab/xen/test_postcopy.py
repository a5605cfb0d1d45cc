# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy where one side is Xen: a domain that is left behind, suspended, serves its pages; one that comes cannot
run without some of its own, and says so."""

from drover_e2e import xen
from drover_e2e.drover_xen import DroverXen
from drover_e2e.outer import DOOR, Outer
from drover_e2e.runner import test

PERMIT = [{"capability": "postcopy-ram", "state": True}]
SLOW = 2 << 20  # bytes/s, so that there is time to change one's mind


@test(timeout=240, thorough=True)
def test_from_xen(case):
    guest = xen.booted(case, "followed")
    server = DroverXen(case, "server", "serve", guest.name)
    there, uri = Outer().destination(extra=list(xen.PLACE_FOR_TABLES))
    case.keep(there)
    before = guest.told()
    there.execute("migrate-set-capabilities", capabilities=PERMIT)
    server.qmp.execute("migrate-set-capabilities", capabilities=PERMIT)
    server.qmp.execute("migrate-set-parameters", **{"max-bandwidth": SLOW})
    mark = server.migrate(uri)
    server.qmp.wait_migration("active", after=mark)
    server.qmp.execute("migrate-start-postcopy")
    server.qmp.wait_migration("postcopy-active", after=mark)
    info = server.ended(mark, "completed")
    assert info["drover"]["postcopy"] and info["ram"]["postcopy-requests"] > 0, info
    after = there.told(after=before.number)
    assert after.wrong == 0, (before, after)
    there.healthy()
    assert server.quit() == 0
    guest.gone()


@test(timeout=240, thorough=True)
def test_to_xen(case):
    """It goes by pre-copy alone, after all."""
    there = case.keep(Outer().drover_guest())
    here = xen.XenGuest(case, "whole")
    server = DroverXen(case, "incoming", "incoming", f"tcp:0.0.0.0:{DOOR}", "-config", str(here.file))
    server.qmp.execute("migrate-set-capabilities", capabilities=PERMIT)
    there.execute("migrate-set-capabilities", capabilities=PERMIT)
    there.migrate()
    info = there.migrated("completed")
    assert not info["drover"].get("postcopy"), info
    here.arrived()
    here.healthy()
