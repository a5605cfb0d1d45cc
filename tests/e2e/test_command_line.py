# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own options, kept: what a user's command line says holds under Drover too."""

import os
import pwd
import select
import signal
import socket
import subprocess
from contextlib import contextmanager

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.net import Namespace
from drover_e2e.qmp import Qmp
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions, guest_arguments

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)
HUGE_PAGES = "/proc/sys/vm/nr_hugepages"
RARP = 0x8035


def wait_gone(pidfd: int, timeout: float = 10) -> None:
    ready, _, _ = select.select([pidfd], [], [], timeout)
    assert ready, "it still runs"


@test()
def test_daemonize_and_pidfile(case):
    """The parent exits with 0 when the monitor can be reached, and leaves nobody who holds its
    standard output; the pid is that of who stays."""
    path, pidfile = case.scratch / "daemon.qmp", case.scratch / "daemon.pid"
    done = subprocess.run(
        [case.emulator, *guest_arguments(SMALL, case.heartbeat_port(Namespace.host()), None),
         "-qmp", f"unix:{path},server=on,wait=off", "-daemonize", "-pidfile", str(pidfile)],
        timeout=30, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pidfd = os.pidfd_open(int(pidfile.read_text()))
    try:
        assert case.keep(Qmp.connect(path)).execute("query-status")["running"]
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        wait_gone(pidfd)
        assert not pidfile.exists(), "QEMU removes its pidfile"
    finally:
        kill(pidfd)


def kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(pidfd)


@test()
def test_pidfile_that_cannot_be_written(case):
    done = subprocess.run(
        [case.emulator, *guest_arguments(SMALL, 1, None), "-S", "-pidfile", "/nonexistent/pid"],
        timeout=30, capture_output=True, text=True)
    assert done.returncode == 1
    assert "/nonexistent/pid" in done.stderr, done.stderr


@test()
def test_started_paused(case):
    """-S: nothing runs until "cont"; then it migrates as any other."""
    source = case.vm(SMALL, "source", paused=True)
    source.qmp.negotiate()
    assert source.qmp.execute("query-status") == {"running": False, "status": "prelaunch",
                                                  "singlestep": False}
    source.qmp.execute("cont")
    source.qmp.wait_event("RESUME")
    case.beats.wait(source.name, 60, match=lambda beat: beat.ready)
    destination = case.destination(SMALL)
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_several_monitors(case):
    """Each client has its own answers; all of them hear of all events."""
    extra = case.scratch / "second.qmp"
    source = case.guest(SMALL.but(extra=("-qmp", f"unix:{extra},server=on,wait=off")))
    destination = case.destination(SMALL)
    second = case.keep(Qmp.connect(extra))
    numbers = [second.send("query-status") for _ in range(50)]
    assert source.qmp.execute("query-name")["name"] == source.name
    assert all(second.result(number, "query-status")["running"] for number in numbers)
    case.migrate(source, destination)
    for qmp in (source.qmp, second):
        qmp.wait_migration("completed")
        qmp.wait_event("STOP")
    assert second.execute("query-migrate")["status"] == "completed"
    second.close()
    third = case.keep(Qmp.connect(extra))
    assert third.execute("query-status")["status"] == "postmigrate"


@test()
def test_another_user(case):
    """-runas: QEMU gives its rights up, and the guest moves all the same; without Drover there is no QEMU."""
    if os.geteuid() != 0:
        raise Skip("only root can give up its rights")
    options = SMALL.but(extra=("-runas", "nobody"))
    source, destination = case.guest(options), case.destination(options)
    user = pwd.getpwnam("nobody").pw_uid
    for side in (source, destination):
        with open(f"/proc/{side.pid}/status", encoding="ascii") as status:
            assert f"Uid:\t{user}\t" in status.read(), side.name
    case.migrate(source, destination)
    case.healthy(destination)
    guest = os.pidfd_open(destination.pid)
    os.kill(destination.drover_pid(), signal.SIGKILL)
    wait_gone(guest)
    os.close(guest)


@contextmanager
def huge_pages(pages: int):
    """Reserves so many huge pages for a while, where we may."""
    with open(HUGE_PAGES, encoding="ascii") as file:
        before = int(file.read())
    try:
        with open(HUGE_PAGES, "w", encoding="ascii") as file:
            file.write(str(before + pages))
        with open(HUGE_PAGES, encoding="ascii") as file:
            if int(file.read()) < before + pages:
                raise Skip(f"the host has no {pages} huge pages to spare")
        yield
    except OSError as error:
        raise Skip(f"huge pages cannot be reserved: {error}") from error
    finally:
        try:
            with open(HUGE_PAGES, "w", encoding="ascii") as file:
                file.write(str(before))
        except OSError:
            pass


@test()
def test_huge_pages(case):
    """RAM that was asked for in huge pages is in huge pages on both sides, and moves."""
    options = SMALL.but(extra=("-object", "memory-backend-memfd,id=huge,size=256M,hugetlb=on",
                               "-machine", "memory-backend=huge"))
    with huge_pages(2 * 128 + 8):
        source = case.guest(options)
        assert huge_bytes(source.pid) > 0
        destination = case.destination(options)
        case.migrate(source, destination)
        case.healthy(destination)
        assert huge_bytes(destination.pid) > 0
        source.stop()
        destination.stop()


def huge_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/smaps", encoding="ascii") as smaps:
        return sum(int(line.split()[1]) * 1024 for line in smaps
                   if line.startswith("Shared_Hugetlb:") or line.startswith("Private_Hugetlb:"))


@test()
def test_guest_announces_itself(case):
    """After the switchover the switches hear where the guest's address is now."""
    network = case.tap_network()
    options = SMALL.but(network=network)
    source = case.guest(options)
    destination = case.destination(options)
    with network.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as ear:
        ear.bind(("br0", RARP))
        ear.settimeout(10)
        case.migrate(source, destination)
        frame = ear.recv(2048)
    assert frame[:6] == b"\xff" * 6
    assert frame[6:12] == bytes.fromhex("525400770002")


@test()
def test_cpu_features_that_the_destination_lacks(case):
    """Refused in words before anything is sent: such a guest would crash later."""
    source = case.guest(SMALL)
    destination = case.destination(SMALL.but(cpu="Nehalem,-sse4.2"))
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", after=mark)
    text = source.qmp.execute("query-migrate")["error-desc"]
    assert "CPU lacks features" in text and "-cpu" in text, text
    case.alive_on(source)
    assert destination.running()


@test()
def test_probing_lines_run_qemu_unchanged(case):
    for words in (["-version"], ["-M", "help"], ["-cpu", "help"], ["-device", "help"]):
        ours, theirs = (subprocess.run([program, *words], capture_output=True, timeout=30)
                        for program in (case.emulator, paths.QEMU))
        assert (ours.returncode, ours.stdout, ours.stderr) == (
            theirs.returncode, theirs.stdout, theirs.stderr), words
