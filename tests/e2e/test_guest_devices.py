# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with what people's guests have: it arrives whole, and works there."""

import os
import re
import shutil
from pathlib import Path

from drover_e2e import paths, tpm
from drover_e2e.case import Case, Skip
from drover_e2e.qtest import QtestMachine
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions, Vm

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)
FIRMWARE = Path("/usr/share/seabios/bios-256k.bin")
MIB = 1 << 20
SHMEM_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")


def there_and_back(case: Case, options: GuestOptions) -> Vm:
    """The guest after two migrations, the second from where it arrived."""
    first, second = case.guest(options), case.destination(options)
    case.migrate(first, second)
    third = case.destination(options)
    case.migrate(second, third)
    return third


@test()
def test_balloon_and_free_page_reporting(case):
    """What the guest gave back before, between and after its migrations is no data, and all else is."""
    options = SMALL.but(extra=("-device", "virtio-balloon-pci,id=balloon,free-page-reporting=on"))
    first, second = case.guest(options), case.destination(options)
    inflate(first, 160 * MIB)
    case.migrate(first, second)
    inflate(second, 256 * MIB)
    third = case.destination(options)
    case.migrate(second, third)
    inflate(third, 176 * MIB)
    case.healthy(third)


def inflate(vm: Vm, size: int) -> None:
    mark = vm.qmp.mark()
    vm.qmp.execute("balloon", value=size)
    vm.qmp.wait_event("BALLOON_CHANGE", 60, mark, lambda data: data["actual"] == size)


@test()
def test_virtio_mem(case):
    """Memory that the guest plugged and uses, and the part of the device that it did not."""
    options = SMALL.but(memory="256M,slots=2,maxmem=1G", boot=("memhp_default_state=online",), extra=(
        "-object", "memory-backend-ram,id=vmem,size=256M",
        "-device", "virtio-mem-pci,id=vm0,memdev=vmem,requested-size=64M"))
    first, second = case.guest(options), case.destination(options)
    grown(first, 64 * MIB)
    case.migrate(first, second)
    second.qmp.execute("qom-set", path="vm0", property="requested-size", value=128 * MIB)
    grown(second, 128 * MIB)
    case.healthy(second)
    third = case.destination(options.but(extra=options.extra[:-1] + (
        options.extra[-1].replace("64M", "128M"),)), paused=True)
    case.finish_migration(second, case.start_migration(second, third.uri))
    case.same_ram(second, third)
    assert third.qmp.execute("qom-get", path="vm0", property="size") == 128 * MIB
    third.qmp.execute("cont")
    case.alive_on(third, 5)
    case.healthy(third)


def grown(vm: Vm, size: int) -> None:
    """Waits for the guest's word on it; the device tells each step."""
    mark = 0
    while vm.qmp.execute("qom-get", path="vm0", property="size") != size:
        vm.qmp.wait_event("MEMORY_DEVICE_SIZE_CHANGE", 60, mark)
        mark = vm.qmp.mark()


@test()
def test_firmware_in_flash(case):
    """Firmware and its variables in flash, as with UEFI; paused, too, with the flash as the only disk."""
    if not FIRMWARE.exists():
        raise Skip(f"there is no {FIRMWARE}")
    code, variables = case.directory / "code.fd", case.directory / "variables.fd"
    shutil.copy(FIRMWARE, code)
    variables.write_bytes(bytes(MIB))
    options = SMALL.but(extra=(
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
        "-drive", f"if=pflash,format=raw,unit=1,file={variables}"))
    arrived = there_and_back(case, options)
    arrived.qmp.execute("stop")
    for _ in range(2):
        source, arrived = arrived, case.destination(options)
        case.finish_migration(source, case.start_migration(source, arrived.uri))
        source.stop()
    arrived.qmp.execute("cont")
    case.alive_on(arrived)
    case.healthy(arrived)


@test(wish=["pause", "shutdown"], when=["before", "meanwhile"])
def test_guest_that_panics(case, wish, when):
    """Paused as the user wishes, it arrives as it is; where a panic ends QEMU, nobody runs what was sent."""
    options = SMALL.but(extra=("-device", "pvpanic-pci", "-action", f"panic={wish}"))
    source, destination = case.guest(options), case.destination(options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=20_000_000)
    mark = source.qmp.mark()
    if when == "meanwhile":
        case.start_migration(source, destination.uri)
        source.qmp.wait_migration("active", after=mark)
    case.beats.command(source.name, "panic")
    if wish == "shutdown":
        assert source.wait_exit(30) == 0, source.stderr()
        if when == "meanwhile":
            assert destination.wait_exit() != 0
            assert "never ran here" in destination.stderr(), destination.stderr()
        return
    source.qmp.wait_event("GUEST_PANICKED", 30, mark)
    if when == "before":
        source.qmp.wait_event("STOP", 30, mark)
        case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    assert destination.qmp.execute("query-status")["status"] == "guest-panicked"


@test(way=["at once", "cancelled first"])
def test_tpm(case, way):
    """What the guest measured into its TPM is there at the destination, whose swtpm began empty."""
    if not tpm.PROGRAM:
        raise Skip("there is no swtpm")
    source = machine(case, "source")
    assert tpm.command(source, tpm.STARTUP)[6:10] == bytes(4)
    assert tpm.command(source, tpm.EXTEND)[6:10] == bytes(4)
    measured = tpm.command(source, tpm.READ)
    assert measured[6:10] == bytes(4) and any(measured[-32:]), measured.hex()
    if way != "at once":
        cancelled_late(case, source, machine(case, "never", "-incoming", "defer"))
        assert tpm.command(source, tpm.READ) == measured
    destination = machine(case, "destination", "-incoming", "defer")
    case.finish_migration(source, case.start_migration(source, case.listen(destination)))
    assert tpm.command(destination, tpm.READ) == measured


def cancelled_late(case: Case, source: QtestMachine, destination: QtestMachine) -> None:
    pausing = [{"capability": "pause-before-switchover", "state": True}]
    source.qmp.execute("migrate-set-capabilities", capabilities=pausing)
    mark = case.start_migration(source, case.listen(destination))
    source.qmp.wait_migration("pre-switchover", after=mark)
    source.qmp.execute("migrate_cancel")
    source.qmp.wait_migration("cancelled", after=mark)
    pausing[0]["state"] = False
    source.qmp.execute("migrate-set-capabilities", capabilities=pausing)


def machine(case: Case, name: str, *words: str) -> QtestMachine:
    return case.qtest(name, "-M", "pc", "-m", "64M", *tpm.Swtpm(name, case.scratch).words(), *words)


@test(aio=["native", "io_uring"])
def test_disks_as_platforms_have_them(case, aio):
    """oVirt's and Proxmox's: their reads would be seen by no tracker, so the disk has aio=threads."""
    vm = there_and_back(case, SMALL.but(disk=case.disk(), aio=aio))
    if paths.is_drover(case.emulator):
        assert "[aio]" not in Path(f"/proc/{vm.pid}/maps").read_text()
        mark = "aio=threads here"
        assert mark in vm.stderr(), vm.stderr()
        (case.scratch / "more").write_bytes(bytes(MIB))
        vm.qmp.execute("blockdev-add", driver="file", node__name="more", filename=str(case.scratch / "more"), aio=aio,
                       cache={"direct": True})
        assert vm.stderr().count(mark) == 2, vm.stderr()
        assert "blocked-reasons" not in vm.qmp.execute("query-migrate")
    case.healthy(vm)


@test(timeout=180, alone=True)
def test_transparent_huge_pages(case):
    """A guest gets them where the host permits, at its destination too, and one byte written is 4 KiB to send."""
    if not paths.is_drover(case.emulator):
        raise Skip("stock QEMU's memory is no file")
    if not os.access(SHMEM_HUGE_PAGES, os.W_OK):
        raise Skip("they cannot be permitted here")
    before = re.search(r"\[(\w+)\]", SHMEM_HUGE_PAGES.read_text())[1]
    SHMEM_HUGE_PAGES.write_text("advise")
    try:
        options = SMALL.but(memory="384M", working_set="192M", dirty=1000, policy="downtime=100ms")
        source, destination = case.guest(options), case.destination(options)
        assert huge_bytes(source) > 128 * MIB, huge_bytes(source)
        source.qmp.execute("migrate-set-parameters", max__bandwidth=50_000_000)
        case.migrate(source, destination)
        assert huge_bytes(destination) > 128 * MIB, huge_bytes(destination)
        rounds = source.qmp.execute("query-migrate")["drover"]["rounds"]
        written = 1000 * sum(each["seconds"] for each in rounds)
        again = sum(each["sent-pages"] for each in rounds[1:])
        assert again < 2 * written + 4000, (again, written)  # a huge page has 512
        case.healthy(destination)
    finally:
        SHMEM_HUGE_PAGES.write_text(before)


def huge_bytes(vm: Vm) -> int:
    lines = Path(f"/proc/{vm.pid}/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("ShmemPmdMapped"))
