# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulator process, Drover or stock QEMU: started, watched by QMP, ended."""

import ctypes
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

from . import paths
from .heartbeat import socket_inode
from .net import Namespace
from .qmp import Qmp

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Emulator:
    """Must be started from the test's main thread: it dies with it."""

    def __init__(self, name: str, arguments: list[str], directory: Path,
                 emulator: str = paths.DROVER, namespace: Namespace | None = None,
                 env: dict | None = None):
        self.name = name
        self.emulator = emulator
        self.directory = directory
        self._namespace = namespace or Namespace.host()
        monitor, monitor_path = self._listen_for_qmp()
        arguments = [emulator, *arguments, "-name", name,
                     "-chardev", f"socket,id=mon0,fd={monitor.fileno()},server=on,wait=off",
                     "-mon", "chardev=mon0,mode=control"]
        self._start(arguments, monitor, env or {})
        self.qmp = self._connect_qmp(monitor_path)

    def _listen_for_qmp(self) -> tuple[socket.socket, str]:
        """As libvirt does: the emulator inherits a listening socket, so that nobody has to wait
        for it to appear."""
        path = str(self.directory / f"{self.name}.qmp.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        return listener, path

    def _connect_qmp(self, path: str) -> Qmp:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except ConnectionRefusedError as error:
            raise RuntimeError(f"{self.name} ended at once: {self.stderr()}") from error
        return Qmp(client, open(self.directory / f"{self.name}.qmp.log", "w", encoding="utf-8"))

    def _start(self, arguments: list[str], monitor: socket.socket, env: dict) -> None:
        (self.directory / f"{self.name}.cmdline").write_text(" ".join(arguments) + "\n")
        self._stderr_path = self.directory / f"{self.name}.stderr"
        self._held, stdin = socket.socketpair()
        self._held.shutdown(socket.SHUT_WR)  # who reads it finds its end
        with open(self._stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                self._namespace.prefix() + arguments, stdin=stdin, stdout=stderr,
                stderr=stderr, pass_fds=[monitor.fileno()], preexec_fn=_die_with_parent,
                env={**os.environ, "DROVER_DEFECTS": "fatal",
                     "XDG_CACHE_HOME": str(self.directory / "cache"), **env})
        stdin.close()
        monitor.close()
        self._pidfd = os.pidfd_open(self.process.pid)
        self._released = False
        self._companion: tuple[int, int] | None = None  # its pid, and a pidfd

    @property
    def pid(self) -> int:
        """The process that was started: QEMU."""
        self._find_companion()
        return self.process.pid

    def drover_pid(self) -> int:
        """Drover, which goes on in a child of QEMU's, and may outlive it."""
        self._find_companion()
        if self._companion is None:
            raise ProcessLookupError(f"{self.name} has no Drover")
        return self._companion[0]

    def _find_companion(self) -> None:
        """As long as QEMU lives, for later."""
        if self._companion is not None or not paths.is_drover(self.emulator):
            return
        for child in children_of(self.process.pid):
            if _comm(child).startswith("drover-system"):
                self._companion = (child, os.pidfd_open(child))

    def give_descriptor(self, name: str, fd: int) -> None:
        """QMP's getfd: the descriptor travels beside the command."""
        self.qmp.execute_with_descriptor("getfd", fd, fdname=name)

    def owns_socket(self, udp_port: int) -> bool:
        pid = self.pid
        inode = socket_inode(pid, udp_port)
        if inode is None:
            return False
        wanted = f"socket:[{inode}]"
        directory = f"/proc/{pid}/fd"
        return any(_link(f"{directory}/{fd}") == wanted for fd in os.listdir(directory))

    def stderr(self) -> str:
        """All that was said, also where Drover says it after QEMU's end."""
        if not self.running():
            self._wait_let_go(5)
        return self._stderr_path.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_exit(self, timeout: float = 10) -> int:
        """The exit code (negative: the signal that ended it)."""
        if not self._released and not _is_readable(self._pidfd, timeout):
            raise TimeoutError(f"{self.name} still runs after {timeout} s")
        return self.process.wait()

    def _wait_let_go(self, timeout: float) -> None:
        """Until nobody has the emulator's standard files any more."""
        assert self._released or _is_readable(self._held, timeout), f"{self.name} has ended, and somebody holds its standard input"

    def wait_drover_gone(self, timeout: float = 10) -> None:
        self.drover_pid()
        assert _is_readable(self._companion[1], timeout), f"{self.name}: Drover lives on"

    def kill(self) -> None:
        """As when its host dies: Drover and QEMU."""
        self._find_companion()
        if self._companion is not None:
            try:
                signal.pidfd_send_signal(self._companion[1], signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.running():
            self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it, whatever its state."""
        self._find_companion()
        if self.running():
            self.process.terminate()
            try:
                self.wait_exit(5)
            except TimeoutError:
                pass
        self.kill()
        self.qmp.close()

    def close(self) -> None:
        """Ends it, and lets go of what is known of its end."""
        if self._released:
            return
        self.stop()
        self._released = True
        os.close(self._pidfd)
        self._held.close()
        if self._companion is not None:
            os.close(self._companion[1])


def _is_readable(file, timeout: float) -> bool:
    """A soak's files have numbers that are too high for select()."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(timeout * 1e3))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def children_of(pid: int) -> list[int]:
    found = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return found  # it has ended meanwhile
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                found += [int(child) for child in children.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread that has ended since it was listed
    return found


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
            return comm.read()
    except OSError:
        return ""
