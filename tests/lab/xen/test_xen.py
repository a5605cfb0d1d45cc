# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside the emulated Xen host: a neutral guest there, and the ways between that host and the machine that
emulates it."""

import subprocess
import time

from drover_e2e import outer, xen
from drover_e2e.outer import Outer
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL


@test(timeout=120, thorough=True)
def test_boots(case):
    started = time.monotonic()
    guest = xen.XenGuest(case, "boots").create()
    created = time.monotonic() - started
    guest.ready()
    print(f"TOLD created in {created:.1f} s, its workload runs after {time.monotonic() - started:.1f} s")
    first = guest.told()
    assert guest.told(after=first.number + 2).written > first.written
    guest.healthy()
    xen.keep_booted(guest, case.scratch / "booted")


@test(timeout=120, smp=[1, 2])
def test_save_and_restore(case, smp):
    options = NEUTRAL.but(smp=smp)
    guest = xen.booted(case, f"saved{smp}", options)
    before = guest.healthy()
    file = case.scratch / "save"
    saved = guest.save(file)
    again = xen.XenGuest(case, f"restored{smp}", options)
    restored = again.restore(file)
    print(f"TOLD saved in {saved:.1f} s, {file.stat().st_size} bytes; restored in {restored:.1f} s")
    after = again.told()
    assert before.number < after.number and before.verified < after.verified, (before, after)
    again.healthy()


@test(timeout=120, thorough=True)
def test_files_travel_to_the_outer_machine_and_back(case):
    """A guest of stock QEMU's there, of which the stream comes here and goes back under another name."""
    there = Outer()
    guest = case.keep(there.guest())
    guest.told(after=2)
    before = guest.save("out.state")
    file = outer.take("out.state", case.scratch)
    with open(file, "rb") as stream:
        assert stream.read(4) == b"QEVM"
    again = case.keep(there.resume(outer.give(file, "back.state")))
    assert again.told().number > before.number
    again.healthy()


@test(timeout=30)
def test_drover_runs_in_dom0(case):
    said = subprocess.run(["drover", "--help"], capture_output=True, text=True, check=True)
    assert "usage" in (said.stdout + said.stderr).lower(), said


@test(timeout=240, thorough=True)
def test_xls_own_migration(case):
    """To this very host, which is how docs/heterogeneity.md compares: how long it takes, and how long the guest says
    nothing beyond the second between two beats."""
    guest, again = xen.booted(case, "local"), xen.XenGuest(case, "again")
    receive = case.scratch / "receive"
    receive.write_text("#!/bin/sh\nexec xl migrate-receive\n")
    receive.chmod(0o755)
    before = guest.healthy()
    again.arrived()
    took = xen.xl("migrate", "-C", str(again.file), "-s", "", guest.name, str(receive), log=case.directory / "migrate.log")
    guest.gone()
    again.told(after=before.number)
    silent = again.console.stamps[0] - guest.console.stamps[-1]
    print(f"TOLD xl migrated it in {took:.1f} s; it stood for some {silent - 1:.1f} to {silent:.1f} s")
    again.healthy()
