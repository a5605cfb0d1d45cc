# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with a disk, a network card, an entropy device and a balloon, which move live between an emulated Xen host and
the machine that emulates it: what they write is what they read, one connection lasts, entropy comes, and the balloon
can be filled on QEMU before and afterwards."""

from pathlib import Path

from drover_e2e import xen
from drover_e2e.drover_xen import DroverXen
from drover_e2e.net import TapNetwork
from drover_e2e.outer import DOOR, Outer, OuterGuest, OuterNetwork
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL, GuestOptions


def with_devices(disk: Path, net: str, target: str) -> GuestOptions:
    """At places that both hypervisors' machines have free."""
    words = ("-drive", f"file={disk},if=none,id=disk0,format=raw,cache=writeback",
             "-device", "virtio-blk-pci,id=blk0,drive=disk0,addr=4",
             "-netdev", f"{net},id=lan0",
             "-device", "virtio-net-pci,id=nic0,netdev=lan0,mac=52:54:00:77:00:02,addr=5,romfile=",
             "-object", "rng-builtin,id=dice0",
             "-device", "virtio-rng-pci,id=rng0,rng=dice0,max-bytes=1024,period=1000,addr=6")
    return NEUTRAL.but(boot=(*NEUTRAL.boot, "drover.disk=1", "drover.entropy=1", f"drover.ip={TapNetwork.GUEST}", f"drover.tcp={target}"),
                       extra=words)


# Without MSI-X in QEMU 7.2: a guest that was born on Xen could not leave with it.
BALLOON = ("-device", "virtio-balloon-pci,id=balloon0,deflate-on-oom=on,addr=7")
ALL_MIB, LESS_MIB = 128, 96


def changes(options: GuestOptions) -> dict:
    return {"boot": list(options.boot), "extra": list(options.extra)}


def tell(info: dict) -> None:
    print(f"TOLD moved in {info['total-time'] / 1000:.1f} s, downtime {info['downtime']} ms")


class Devices:
    """One guest's, seen from outside."""

    def __init__(self, outer: Outer, *more: str):
        self._outer = outer
        self.disk = outer.disk()
        self.net: OuterNetwork = outer.network()
        self.here, self.there = (options.but(extra=(*options.extra, *more)) for options in (
            with_devices(self.disk, net, self.net.target) for net in (self.net.here, self.net.there)))

    def work(self, guest: xen.XenGuest | OuterGuest) -> None:
        """All go on from now; the guest compares what it reads."""
        guest.entropy(beyond=guest.entropy())
        echoed, written = self.net.echoed(), self._outer.written(self.disk)
        self.net.echoed(beyond=echoed + 16 * 1024)
        assert self._outer.written(self.disk) > written

    def derived(self, guest: xen.XenGuest) -> list[str]:
        """What this host says of the guest; the rest follows from what its source says."""
        return ["-name", guest.name, "-disks", str(self.disk.parent), "-netdev", f"{self.net.here},id=lan0",
                "-balloon", "idle",
                "-serial", f"unix:{guest.console.path}"]


def waits(case, *words: str) -> DroverXen:
    return DroverXen(case, "incoming", "incoming", f"tcp:0.0.0.0:{DOOR}", *words)


@test(timeout=400)
def test_to_xen(case):
    """Its configuration is derived. What is in its balloon could not be given back there: refused before a page is sent,
    until it has all of its memory."""
    outer = Outer()
    devices = Devices(outer, *BALLOON)
    there = case.keep(outer.drover_guest(**changes(devices.there)))
    here = xen.XenGuest(case, "comes", devices.here)
    server = waits(case, *devices.derived(here))
    before = there.told(after=2)
    there.balloon(LESS_MIB)
    there.migrate()
    info = there.migrated("failed")
    assert info["drover"]["rounds"] == [] and "'balloon0' has 32 MiB" in info["error-desc"], info
    there.balloon(ALL_MIB)
    devices.work(there)
    there.migrate()
    tell(there.migrated("completed"))
    here.arrived().told(after=before.number)
    devices.work(here)
    here.healthy()
    assert server.quit() == 0


@test(timeout=400, thorough=True)
def test_there_and_back(case):
    """Born on QEMU, to Xen by a configuration's file, and home again, where its balloon can be filled as before."""
    outer = Outer()
    devices = Devices(outer, *BALLOON)
    born = case.keep(outer.drover_guest(**changes(devices.there)))
    abroad = xen.XenGuest(case, "abroad", devices.here)
    server = waits(case, "--config", str(abroad.file))
    before = born.told(after=2)
    born.migrate()
    tell(born.migrated("completed"))
    abroad.arrived().told(after=before.number)
    devices.work(abroad)
    assert server.quit() == 0
    home, uri = outer.destination(**changes(devices.there))
    case.keep(home)
    away = DroverXen(case, "server", "serve", abroad.name)
    try:
        raise AssertionError(away.qmp.execute("balloon", value=LESS_MIB << 20))
    except QmpError as error:
        assert "device model would end" in str(error), error
    before = abroad.told()
    tell(away.ended(away.migrate(uri), "completed"))
    home.told(after=before.number)
    home.balloon(LESS_MIB)
    home.balloon(ALL_MIB)
    devices.work(home)
    home.healthy()
    assert away.quit() == 0
    abroad.gone()


@test(timeout=600, thorough=True)
def test_born_on_xen(case):
    """To QEMU and back."""
    outer = Outer()
    devices = Devices(outer)
    born = xen.XenGuest(case, "born", devices.here).create().ready()
    there, uri = outer.destination(**changes(devices.there.but(extra=(*devices.there.extra, *xen.PLACE_FOR_TABLES))))
    case.keep(there)
    server = DroverXen(case, "server", "serve", born.name)
    before = born.told(after=1)
    devices.work(born)
    tell(server.ended(server.migrate(uri), "completed"))
    there.told(after=before.number)
    devices.work(there)
    there.healthy()
    assert server.quit() == 0
    born.gone()
    back = xen.XenGuest(case, "back", devices.here)
    waits(case, *devices.derived(back))
    before = there.told()
    there.migrate()
    tell(there.migrated("completed"))
    back.arrived().told(after=before.number)
    devices.work(back)
    back.healthy()


@test(timeout=240, thorough=True)
def test_refused(case):
    """Before a page is sent, by name: a device that Xen's side does not know, a disk, a network and a balloon that this
    host has not allowed. Then it goes."""
    outer = Outer()
    devices = Devices(outer, *BALLOON)
    here = xen.XenGuest(case, "refused", devices.here)
    allowed = devices.derived(here)

    def refused(guest: OuterGuest, words: list[str]) -> str:
        server = waits(case, *words)
        guest.migrate()
        info = guest.migrated("failed")
        assert info["drover"]["rounds"] == [], info
        server.close()
        (case.scratch / "incoming.qmp.sock").unlink(missing_ok=True)
        return info["error-desc"]

    def without(option: str) -> list[str]:
        at = allowed.index(option)
        return allowed[:at] + allowed[at + 2:]

    other = outer.drover_guest(extra=["-device", "virtio-serial-pci,id=lines0,addr=6"])
    assert "virtio-serial-pci" in (said := refused(other, allowed)) and "lines0" in said, said
    other.close()
    there = case.keep(outer.drover_guest(**changes(devices.there)))
    assert "-disks" in (said := refused(there, without("-disks"))) and devices.disk.name in said, said
    assert "-netdev" in (said := refused(there, without("-netdev"))) and "nic0" in said, said
    assert "-balloon idle" in (said := refused(there, without("-balloon"))) and "balloon0" in said, said
    last = there.told()
    waits(case, *allowed)
    there.migrate()
    there.migrated("completed")
    here.arrived().told(after=last.number)
    devices.work(here)
