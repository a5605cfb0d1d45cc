# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input: clear words on both sides, and the guest runs on."""

import subprocess

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.proxy import send_and_close
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)
STRANGERS = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "tls": bytes.fromhex("16030100f8010000f40303") + bytes(240),
    "zeros": bytes(1 << 20),
    "ones": b"\xff" * (1 << 20),
    "qemu": b"QEVM" + (3).to_bytes(4, "big") + bytes(64),
}


def drover_only(case):
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own words")


def refused(case, source, destination, *words: str) -> str:
    """The migration fails before a page is sent, in words; the guest runs on and so does the
    destination, which may still be right for somebody else."""
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    case.alive_on(source)
    report = source.qmp.execute("query-migrate")
    text = report.get("error-desc", "")
    assert text, f"failed without a word: {report}"
    for word in words:
        assert word.lower() in text.lower(), f"{word!r} is not in: {text}"
    assert report.get("ram", {}).get("transferred", 0) < 1 << 20, report["ram"]
    assert destination.running(), destination.stderr()
    return text


@test(stranger=list(STRANGERS))
def test_stranger_at_the_door(case, stranger):
    """He is sent away, and who should come can still come."""
    drover_only(case)
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    send_and_close(destination.uri, STRANGERS[stranger])
    lingering = send_and_close(destination.uri, STRANGERS[stranger][:7], linger=True)
    case.migrate(source, destination)
    case.healthy(destination)
    lingering.close()


@test()
def test_nobody_listens(case):
    source = case.guest(SMALL)
    uri = f"unix:{case.scratch}/nobody"
    mark = source.qmp.mark()
    try:
        case.start_migration(source, uri)
        source.qmp.wait_migration("failed", after=mark)
        text = source.qmp.execute("query-migrate").get("error-desc", "")
    except QmpError as error:
        text = error.desc  # QEMU may say it at once
    assert text, "failed without a word"
    case.alive_on(source)


@test(uri=["rdma:host:1", "gopher:host:1", "tcp:nohost", ""])
def test_address_that_is_none(case, uri):
    drover_only(case)
    source = case.guest(SMALL)
    try:
        source.qmp.execute("migrate", uri=uri)
        raise AssertionError(f"{uri!r} was accepted")
    except QmpError as error:
        assert error.desc, error
    case.alive_on(source)


@test()
def test_other_ram_size(case):
    drover_only(case)
    source = case.guest(SMALL)
    destination = case.destination(SMALL.but(memory="512M"))
    refused(case, source, destination, "ram")
    right = case.destination(SMALL)
    case.migrate(source, right)


@test()
def test_other_machine_type(case):
    drover_only(case)
    source = case.guest(SMALL)
    destination = case.destination(SMALL.but(machine="q35"))
    refused(case, source, destination, "machine")


@test()
def test_stock_qemu_at_the_other_end(case):
    """Neither understands the other; the source says so and runs on."""
    drover_only(case)
    source = case.guest(SMALL)
    destination = case.destination(SMALL, emulator=paths.QEMU)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    assert source.qmp.execute("query-migrate").get("error-desc")
    case.alive_on(source)


@test()
def test_stock_qemu_as_the_source(case):
    drover_only(case)
    source = case.guest(SMALL, emulator=paths.QEMU)
    destination = case.destination(SMALL)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    case.alive_on(source)
    assert destination.running(), destination.stderr()


class Tmpfs:
    """A small file system of our own, unmounted at the end."""

    def __init__(self, path, size: str):
        self.path = path
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
                              capture_output=True, text=True)
        if done.returncode != 0:
            path.rmdir()
            raise Skip(f"cannot mount a tmpfs: {done.stderr.strip()}")

    def close(self):
        subprocess.run(["umount", "-l", str(self.path)], check=False)
        self.path.rmdir()


@test()
def test_destination_without_memory(case):
    """Its RAM is on a file system that is full before the guest has come."""
    drover_only(case)
    full = case.keep(Tmpfs(case.scratch / "full", "48m"))
    backing = f"memory-backend-file,id=pc.ram,size={SMALL.memory},share=on,mem-path={full.path}/ram"
    source = case.guest(SMALL)
    destination = case.destination(SMALL.but(extra=("-object", backing, "-machine",
                                                    "memory-backend=pc.ram")))
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    case.alive_on(source)
    text = source.qmp.execute("query-migrate").get("error-desc", "")
    assert "space" in text.lower() or "full" in text.lower(), text
    assert destination.wait_exit() > 0, "it should end by itself, not by a signal"
    assert "space" in destination.stderr().lower() or "full" in destination.stderr().lower()


@test()
def test_what_never_connected_was_never_active(case):
    source = case.vm(SMALL, paused=True)
    source.qmp.negotiate()
    mark = case.start_migration(source, "tcp:127.0.0.1:1")
    source.qmp.wait_migration("failed", after=mark)
    assert source.qmp.statuses(mark) == ["setup", "failed"], source.qmp.statuses(mark)
