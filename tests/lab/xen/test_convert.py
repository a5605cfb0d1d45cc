# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside the emulated Xen host: saved guests that become the other hypervisor's, by `drover convert`, and go on
there."""

import subprocess
import time

from drover_e2e import outer, paths, xen
from drover_e2e.outer import Outer
from drover_e2e.runner import test
from drover_e2e.tale import Told
from drover_e2e.vm import NEUTRAL, GuestOptions, guest_arguments


def convert(*words: str) -> float:
    """Seconds."""
    started = time.monotonic()
    done = subprocess.run(["drover", "convert", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (words, done)
    return time.monotonic() - started


def for_qemu(options: GuestOptions) -> list[str]:
    return ["--", paths.QEMU, *guest_arguments(options, 0, None), "-serial", "null"]


def goes_on(guest, before: Told) -> Told:
    """Its memory is right, and its clock has gone on: beats come each second by it, as far as its busy host lets them be
    in time. A timer that was translated wrongly ticks at another rate altogether."""
    first = guest.told(after=before.number)
    after = guest.healthy()
    assert after.verified > before.verified, (before, after)
    assert after.guest_ms > first.guest_ms >= before.guest_ms, (before, first, after)
    later = guest.told(after=after.number + 2)
    passed, due = later.guest_ms - after.guest_ms, 1000 * (later.number - after.number)
    assert 0.75 * due < passed < 1.25 * due, (after, later)
    return later


@test(timeout=240, smp=[1, 2])
def test_from_qemu_and_back(case, smp):
    options = NEUTRAL.but(smp=smp)
    there = Outer()
    guest = case.keep(there.guest(smp=smp))
    guest.told(after=2)
    told = guest.save("born.qemu")
    file, new = outer.take("born.qemu", case.scratch), case.scratch / "new"
    took = convert(str(file), str(new), "--xen", f"moved{smp}")
    file.unlink()
    on_xen = xen.XenGuest(case, f"moved{smp}", options)
    restored = on_xen.restore(new)
    told = goes_on(on_xen, told)
    print(f"TOLD converted in {took:.2f} s, restored in {restored:.1f} s")
    on_xen.save(new)
    convert(str(new), str(file), *for_qemu(options))
    again = case.keep(there.resume(outer.give(file, "back.qemu"), smp=smp))
    goes_on(again, told)


@test(timeout=240, thorough=True, smp=[1, 2])
def test_born_on_xen(case, smp):
    """To QEMU and back."""
    options = NEUTRAL.but(smp=smp)
    guest = xen.booted(case, f"born{smp}", options)
    told = guest.told()
    file, new = case.scratch / "save", case.scratch / "new"
    guest.save(file)
    options = options.but(extra=xen.PLACE_FOR_TABLES)
    took = convert(str(file), str(new), *for_qemu(options))
    print(f"TOLD converted in {took:.2f} s")
    there = Outer()
    moved = case.keep(there.resume(outer.give(new, "born.xen"), smp=smp, extra=list(xen.PLACE_FOR_TABLES)))
    told = goes_on(moved, told)
    moved.save("back.xen")
    convert(str(outer.take("back.xen", case.scratch)), str(new), "--xen", f"back{smp}")
    back = xen.XenGuest(case, f"back{smp}", NEUTRAL.but(smp=smp))
    back.restore(new)
    goes_on(back, told)
