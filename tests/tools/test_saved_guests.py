#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The drover command on files of guests that hypervisors have saved: those of tests/data/saved-guests, which stay as
they are, byte for byte. What is read from them must not change, whatever is changed in the readers."""

import difflib
import json
import lzma
import os
import pathlib
import subprocess
import tempfile
import unittest

TOOL = os.environ.get("DROVER_TOOL", "build/bin/drover")
SAVED = pathlib.Path(__file__).parents[1] / "data" / "saved-guests"
# The machine that the guest of Xen's goes on in.
PC = ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "pc,hpet=off", "-accel", "tcg",
      "-cpu", "qemu64,+svm", "-m", "128", "-serial", "null", "-object", "memory-backend-ram,id=acpihole,size=2M",
      "-device", "ivshmem-plain,memdev=acpihole,master=on")
# What is not as it was when a guest has gone to the other kind of hypervisor; docs/machine-state.md has the reasons.
CHANGES_TO_XEN = {
    "fw-cfg/linker-size-bytes", "fw-cfg/rsdp-size-bytes", "fw-cfg/tables-size-bytes", "ioapic/redirection", "not-carried", "pic/chips[0]/expects-icw4", "pic/chips[0]/level-triggered",
    "pic/chips[1]/expects-icw4", "pit/channels[0]/since-load-ns", "pit/channels[1]/since-load-ns",
    "pit/channels[2]/since-load-ns", "rtc/ahead-ns", "vcpu[0]/msrs", "vcpu[0]/segments[7]/attributes",
    "vcpu[0]/smbase", "vcpu[0]/xstate-in-use",
}
CHANGES_TO_QEMU = {
    "clocks/acpi-timer-ticks", "clocks/run-time-ns", "clocks/tsc-khz", "fw-cfg/linker-size-bytes",
    "fw-cfg/rsdp-size-bytes", "fw-cfg/tables-size-bytes", "ioapic/redirection", "lapic[0]/timer-left-ns", "not-carried", "pit/channels[0]/since-load-ns", "pit/channels[1]/since-load-ns", "pit/channels[2]/since-load-ns",
    "vcpu[0]/msrs",
}


def drover(*words):
    done = subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def differences(one, other, path=""):
    """Where the two are not equal; a list of another length is one difference."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other)):
            yield from differences(left, right, f"{path}[{index}]")
    elif one != other:
        yield path


class SavedGuests(unittest.TestCase):
    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory())

    def file(self, name):
        path = f"{self.directory}/{name}"
        with open(path, "wb") as file:
            file.write(lzma.decompress((SAVED / f"{name}.xz").read_bytes()))
        return path

    def state(self, path):
        return json.loads(drover("inspect", "--state", path))

    def test_is_read_as_ever(self):
        for saved in sorted(SAVED.glob("*.save.xz")):
            name = saved.name.removesuffix(".xz")
            with self.subTest(name):
                known = lzma.decompress((SAVED / f"{name}.json.xz").read_bytes()).decode()
                read = drover("inspect", "--state", self.file(name))
                changes = list(difflib.unified_diff(known.splitlines(), read.splitlines(), "known", "read", n=1))
                self.assertFalse(changes, "\n".join(changes[:60]))

    def check_converted(self, name, known_changes, *words):
        new = f"{self.directory}/new"
        old = self.file(name)
        drover("convert", old, new, *words)
        before, after = self.state(old), self.state(new)
        for state in (before, after):
            state.pop("device")  # has its own form at either side
        self.assertEqual(set(differences(before, after)), known_changes)
        return before, after

    def test_to_xen(self):
        for name in ("qemu-7.2-pc.save", "qemu-10.0-pc.save", "qemu-7.2-virtio.save"):
            with self.subTest(name):
                self.check_converted(name, CHANGES_TO_XEN, "--xen", "golden")

    def test_to_qemu(self):
        before, after = self.check_converted("xen-4.17-hvm.save", CHANGES_TO_QEMU, "--", *PC)
        # The 24 bits of the timer that a guest can see.
        self.assertEqual(before["clocks"]["acpi-timer-ticks"] % (1 << 24), after["clocks"]["acpi-timer-ticks"])


if __name__ == "__main__":
    unittest.main()
