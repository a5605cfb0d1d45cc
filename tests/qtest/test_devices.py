# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices as the CPU sees them, on any emulator: the same tests on stock QEMU and under Drover."""

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.qtest import QtestMachine, has_accelerator
from drover_e2e.runner import test

EMULATORS = {"drover": paths.DROVER, "qemu": paths.QEMU}
BOTH = list(EMULATORS)
MACHINES = {"pc": "pc", "q35": "q35", "microvm": "microvm,pit=on,pic=on,rtc=on"}


def machine(case, emulator: str, kind: str = "pc", *arguments: str) -> QtestMachine:
    if kind == "microvm":  # it wants some firmware; no CPU runs it
        arguments += ("-serial", "null")
    found = QtestMachine(f"{emulator}-{kind}", ["-M", MACHINES[kind], "-m", "64M", *arguments],
                         case.scratch, EMULATORS[emulator])
    case.keep(Ending(found))
    return found


class Ending:
    def __init__(self, emulator):
        self._emulator = emulator

    def close(self):
        self._emulator.stop()


def cmos(qtest: QtestMachine, register: int) -> int:
    qtest.outb(0x70, register)
    return qtest.inb(0x71)


def set_cmos(qtest: QtestMachine, register: int, value: int) -> None:
    qtest.outb(0x70, register)
    qtest.outb(0x71, value)


def clock_needed():
    if not has_accelerator():
        raise Skip("this QEMU was built without -accel qtest, so its clock cannot be stepped")


def pit_mode(qtest: QtestMachine) -> int:
    qtest.outb(0x43, 0xE2)  # read back counter 0's status
    return qtest.inb(0x40) & 0x3F


@test(emulator=BOTH, kind=list(MACHINES))
def test_memory(case, emulator, kind):
    qtest = machine(case, emulator, kind)
    qtest.writel(0x100000, 0x12345678)
    assert qtest.read(0x100000, 4) == bytes.fromhex("78563412")
    qtest.write(0x3FFF000, b"the last page" + bytes(3))
    assert qtest.read(0x3FFF000, 13) == b"the last page"


@test(emulator=BOTH, kind=list(MACHINES))
def test_rtc(case, emulator, kind):
    """MC146818: valid RAM and battery-backed bytes."""
    qtest = machine(case, emulator, kind)
    assert cmos(qtest, 0x0D) & 0x80, "register D says that time and RAM are not valid"
    set_cmos(qtest, 0x70, 0xA5)
    assert cmos(qtest, 0x70) == 0xA5


@test(emulator=BOTH, kind=list(MACHINES))
def test_rtc_periodic_interrupt(case, emulator, kind):
    clock_needed()
    qtest = machine(case, emulator, kind)
    set_cmos(qtest, 0x0A, 0x2F)  # 2 Hz
    set_cmos(qtest, 0x0B, cmos(qtest, 0x0B) | 0x40)  # periodic interrupt
    cmos(qtest, 0x0C)
    qtest.clock_step(1_100_000_000)
    assert cmos(qtest, 0x0C) & 0xC0 == 0xC0, "no periodic interrupt after 1.1 s"


@test(emulator=BOTH, kind=list(MACHINES))
def test_pit(case, emulator, kind):
    """i8254: counter 0 counts down by 1,193,182 a second."""
    clock_needed()
    qtest = machine(case, emulator, kind)
    qtest.outb(0x43, 0x34)  # counter 0, low then high byte, rate generator
    qtest.outb(0x40, 0xFF)
    qtest.outb(0x40, 0xFF)

    def count() -> int:
        qtest.outb(0x43, 0x00)  # latch
        return qtest.inb(0x40) | qtest.inb(0x40) << 8

    first = count()
    qtest.clock_step(10_000_000)
    counted = (first - count()) % 0xFFFF
    assert 11_900 <= counted <= 11_960, counted


@test(emulator=BOTH, kind=list(MACHINES))
def test_pit_status(case, emulator, kind):
    """Counter 0's mode, as read back."""
    qtest = machine(case, emulator, kind)
    qtest.outb(0x43, 0x34)
    qtest.outb(0x40, 0x34)
    qtest.outb(0x40, 0x12)
    assert pit_mode(qtest) == 0x34


@test(emulator=BOTH, kind=["pc", "q35"])
def test_serial(case, emulator, kind):
    qtest = machine(case, emulator, kind, "-serial", f"file:{case.scratch}/serial")
    qtest.outb(0x3FF, 0x5A)
    assert qtest.inb(0x3FF) == 0x5A, "scratch register"
    for byte in b"hello":
        assert qtest.inb(0x3FD) & 0x20, "transmitter not ready"
        qtest.outb(0x3F8, byte)
    assert (case.scratch / "serial").read_bytes() == b"hello"


@test(emulator=BOTH)
def test_virtio_mmio(case, emulator):
    """microvm's transports: magic, version and the device that was put there."""
    qtest = machine(case, emulator, "microvm", "-device", "virtio-rng-device")
    found = []
    for slot in range(24):
        base = 0xFEB00000 + slot * 512
        if qtest.readl(base) == 0x74726976:  # "virt"
            found.append(qtest.readl(base + 8))
    assert 4 in found, f"no entropy device among {found}"


@test(kind=list(MACHINES))
def test_devices_move(case, kind):
    """The devices' state and the memory, moved by Drover's engine, without a CPU in the way."""
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's engine")
    source = machine(case, "drover", kind)
    uri = f"unix:{case.scratch}/migrate"
    destination = QtestMachine("destination", ["-M", MACHINES[kind], "-m", "64M", "-incoming", uri]
                               + (["-serial", "null"] if kind == "microvm" else []), case.scratch)
    case.keep(Ending(destination))
    source.write(0x200000, b"moved")
    set_cmos(source, 0x70, 0x77)
    source.outb(0x43, 0x34)
    source.outb(0x40, 0x34)
    source.outb(0x40, 0x12)
    for each in (source, destination):
        each.qmp.negotiate()
    mark = case.start_migration(source, uri)
    case.finish_migration(source, mark)
    assert destination.read(0x200000, 5) == b"moved"
    assert cmos(destination, 0x70) == 0x77
    assert pit_mode(destination) == 0x34
