# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that was started is the guest's, for everybody who looks: its name, processor time, threads, pidfile, exit
status. Drover is a child of it; neither outlives the other without need."""

import os
import pty
import select
import signal
import socket
import subprocess
import termios
from pathlib import Path

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.qmp import Qmp, QmpClosed
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions, guest_arguments

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)
BARE = ("-M", "pc", "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def drover_only(case) -> None:
    if not paths.is_drover(case.emulator):
        raise Skip("stock QEMU has no companion")


def runs_qemu(pid: int) -> bool:
    return "qemu-system" in os.readlink(f"/proc/{pid}/exe")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def peer_pid(connection: socket.socket) -> int:
    """Who listened, or connected."""
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


class Started:
    """A bare machine, which calls us as its QMP client, and all that it says to the end."""

    def __init__(self, case, *words: str, before: tuple[str, ...] = (), **popen):
        path = case.scratch / f"started{len(list(case.scratch.iterdir()))}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(30)
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **popen}
        self.process = subprocess.Popen([*before, case.emulator, *BARE, *words, "-qmp", f"unix:{path}"], text=True,
                                        **popen)
        case.keep(self)

    def qmp(self) -> Qmp:
        connection = self._listener.accept()[0]
        self.client = peer_pid(connection)
        qmp = Qmp(connection)
        qmp.negotiate()
        return qmp

    def end(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=30)[0]
        return self.process.returncode, said

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._listener.close()


@test()
def test_statistics_of_the_started_process(case):
    """What libvirt reads of the pid that it knows."""
    guest = case.guest(SMALL.but(smp=2))
    assert runs_qemu(guest.pid)
    assert processor_seconds(guest.pid) > 1
    assert resident_bytes(guest.pid) > 60 << 20
    names = {Path(f"/proc/{guest.pid}/task/{task}/comm").read_text().strip()
             for task in os.listdir(f"/proc/{guest.pid}/task")}
    assert any("CPU" in name or "qemu" in name for name in names), names
    assert len(os.listdir(f"/proc/{guest.pid}/task")) > 2


@test()
def test_daemon_and_pidfile_are_qemus(case):
    path, pidfile = case.scratch / "d.qmp", case.scratch / "d.pid"
    done = subprocess.run([case.emulator, *BARE, "-daemonize", "-pidfile", str(pidfile), "-qmp",
                           f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    pid = int(pidfile.read_text())
    pidfd = os.pidfd_open(pid)
    assert runs_qemu(pid)
    assert os.getsid(pid) not in (pid, os.getsid(0)), "a terminal that it opens would be its own"
    # Who asks for the owner of the monitor's socket is told of the same.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert peer_pid(client) == pid
    qmp = Qmp.connect(path)
    qmp.execute("quit")
    qmp.close()
    assert select.select([pidfd], [], [], 20)[0], "it still runs"
    assert not pidfile.exists()
    os.close(pidfd)


@test()
def test_killed_daemon_leaves_no_pidfile(case):
    drover_only(case)
    pidfile = case.scratch / "k.pid"
    line = Started(case, "-pidfile", str(pidfile))
    line.qmp()
    assert int(pidfile.read_text()) == line.process.pid
    line.process.kill()
    line.end()
    assert not pidfile.exists()


@test()
def test_exit_status(case):
    """quit, SIGTERM, a line that QEMU does not take, one that Drover does not, a program that cannot be executed."""
    for way in ("quit", "SIGTERM"):
        place = case.scratch / f"{way}.qmp"
        line = Started(case, "-qmp", f"unix:{place},server=on,wait=off")
        qmp = line.qmp()
        assert place.exists()
        if way == "quit":
            qmp.execute("quit")
        else:
            line.process.terminate()
        code, said = line.end()
        assert code == 0, (way, code, said)
        assert not place.exists(), "the monitor's socket is left"
    for words, says in ((("-device", "no-such-device"), "no-such-device"),
                        (("-m", "nonsense"), "nonsense"),
                        (("-qmp", "unix:/no/such/place,server=on"), "/no/such/place"),
                        (("-pidfile", "/no/such/pid"), "/no/such/pid")):
        code, said = Started(case, *words).end()
        assert code == 1 and says in said, (words, code, said)
    pidfile = case.scratch / "never.pid"
    assert Started(case, "-pidfile", str(pidfile), "-qmp", "unix:/no/such/place,server=on").end()[0] == 1
    assert not pidfile.exists()
    if paths.is_drover(case.emulator):
        broken = case.scratch / "broken"
        broken.write_text("not a program")
        broken.chmod(0o755)
        code, said = Started(case, "-vmm", f"qemu,path={broken}").end()
        assert code == 1 and "executing" in said, (code, said)


@test()
def test_words_are_there_when_the_process_ends(case):
    """As with QEMU alone: who waits for it, and then reads the file, finds the reason."""
    drover_only(case)
    for number in range(5):
        said = case.scratch / f"said{number}"
        with open(said, "wb") as stderr:
            line = Started(case, "-device", "no-such-device", stderr=stderr, stdout=stderr)
            assert line.process.wait(30) == 1
        assert "no-such-device" in said.read_text(), number


@test(victim=["qemu", "drover"])
def test_neither_outlives_the_other(case, victim):
    drover_only(case)
    guest = case.guest(SMALL)
    drover = guest.drover_pid()
    os.kill(guest.pid if victim == "qemu" else drover, signal.SIGKILL)
    assert guest.wait_exit() == -signal.SIGKILL
    guest.wait_drover_gone()
    if victim == "qemu":
        assert "killed by SIGKILL" in guest.stderr() or "QEMU has ended" in guest.stderr(), guest.stderr()


@test()
def test_changed_identity_is_watched_too(case):
    """-runas: QEMU is another user's by then."""
    drover_only(case)
    if os.geteuid() != 0:
        raise Skip("-runas is for root")
    guest = case.vm(SMALL.but(extra=("-runas", "nobody")), paused=True)
    guest.qmp.negotiate()
    assert os.stat(f"/proc/{guest.pid}").st_uid != 0
    os.kill(guest.drover_pid(), signal.SIGKILL)
    assert guest.wait_exit() == -signal.SIGKILL


@test()
def test_termination_by_either_process(case):
    """A SIGTERM that was meant for the guest reaches it, whichever process it was sent to."""
    drover_only(case)
    guest = case.guest(SMALL)
    os.kill(guest.drover_pid(), signal.SIGTERM)
    assert guest.wait_exit() == 0
    guest.wait_drover_gone()


@test()
def test_library_that_is_not_loaded(case):
    """Nobody would end such a QEMU with its Drover, nor could it be moved: said, and ended before it runs."""
    drover_only(case)
    wrapper = case.scratch / "without-library"
    wrapper.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec {paths.QEMU} "$@"\n')
    wrapper.chmod(0o755)
    code, said = Started(case, "-vmm", f"qemu,path={wrapper}").end()
    assert code != 0 and "has not loaded libdrover-tracker.so" in said, (code, said)
    wrapper.write_text(f'#!/bin/sh\n{paths.QEMU} "$@"\n')
    code, said = Started(case, "-vmm", f"qemu,path={wrapper}").end()
    assert code != 0 and "exec qemu-system" in said, (code, said)


@test()
def test_failed_incoming_migration(case):
    """As stock QEMU: 1, for whoever started it to tell a failure from a crash."""
    drover_only(case)
    source, destination = case.guest(SMALL), case.destination(SMALL)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=5_000_000)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", after=mark)
    assert destination.drover_pid() != destination.pid
    source.qmp.execute("migrate_cancel")
    assert destination.wait_exit() == 1
    destination.wait_drover_gone()
    case.alive_on(source)


@test()
def test_who_waits_for_the_output_does_not_wait_for_drover(case):
    """In post-copy Drover stays to serve a guest whose QEMU was killed; the files it was started with are free."""
    drover_only(case)
    busy = SMALL.but(dirty=10000, policy="downtime=100ms,on-stall=postcopy")
    source, destination = case.guest(busy), case.destination(busy)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=25_000_000)
    source.qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
    there = destination.qmp.mark()
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", after=mark)
    source.qmp.execute("migrate-start-postcopy")
    source.qmp.wait_migration("postcopy-active", after=mark)
    drover = source.drover_pid()
    os.kill(source.pid, signal.SIGKILL)
    source.wait_exit()
    assert "staying until it has it" in source.stderr(), source.stderr()
    wait_closed(source.qmp)
    assert Path(f"/proc/{drover}").exists(), "nobody serves the guest"
    destination.qmp.wait_migration("completed", after=there)
    case.alive_on(destination)
    case.healthy(destination)
    source.wait_drover_gone()


@test(way=["quit", "killed"])
def test_terminal_is_as_it_was(case, way):
    """QEMU puts it into raw mode. In a script: there nobody else restores it after a kill."""
    drover_only(case)
    mine, its = pty.openpty()
    over, end = os.pipe()
    before = termios.tcgetattr(its)
    script = ("/bin/sh", "-c", '"$@"; read line <&$0', str(over))
    line = Started(case, "-serial", "stdio", before=script, stdin=its, stdout=its, stderr=its, pass_fds=[over],
                   preexec_fn=lambda: take_terminal(its))
    qmp = line.qmp()
    assert termios.tcgetattr(its) != before, "QEMU did not touch it"
    if way == "quit":
        qmp.execute("quit")
    else:
        os.kill(line.client, signal.SIGKILL)
    wait_closed(qmp)  # Drover has let go of all
    assert termios.tcgetattr(its) == before
    os.write(end, b"\n")
    line.process.wait(20)
    for fd in (mine, its, over, end):
        os.close(fd)


def wait_closed(qmp: Qmp) -> None:
    try:
        qmp.wait_event("NEVER", timeout=10)
    except QmpClosed:
        return
    raise AssertionError("the monitor is still open")


def take_terminal(terminal: int) -> None:
    os.setsid()
    os.tcsetpgrp(os.open(os.ttyname(terminal), os.O_RDWR), os.getpgrp())


@test()
def test_interrupt_from_the_terminal(case):
    """It goes to both processes; QEMU ends by it, and Drover with QEMU."""
    line = Started(case, start_new_session=True)
    line.qmp()
    os.killpg(line.process.pid, signal.SIGINT)
    code, said = line.end()
    assert code == 0, (code, said)
