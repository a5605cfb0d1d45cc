# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that QEMU emulates, with AMD's virtualization (SVM): its console, its end, the key that wakes it."""

import socket
import subprocess
import threading
from pathlib import Path

from . import paths
from .qmp import Qmp, QmpClosed

SILENT_S = 120.0  # a host says each ten seconds that it lives; its boot usually takes 40
WAKE_S = 2.0


def machine_arguments(cpu: str, memory: int, boot: list[str], devices: tuple[str, ...] = ()) -> list[str]:
    """One vCPU: with two, QEMU's emulation of SVM corrupts the host's kernel much more often. `memory` in MiB;
    the console is QEMU's standard output."""
    return [paths.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", cpu, "-smp", "1", "-m", str(memory), *boot,
            "-serial", "stdio", *devices]


class HostDied(Exception):
    """The emulated host came to no end of its own."""


class EmulatedHost:
    """Its console, line by line. QEMU's emulation of nested SVM now and then corrupts the host's kernel,
    or loses its timer, and then it sleeps for ever: a host that is silent is killed.

    Any other interrupt wakes one that sleeps: with `wake` a key is pressed now and then, of which a host
    without a terminal takes no notice."""

    def __init__(self, command: list[str], log: Path, wake: bool = False):
        self.log = log
        self.panicked = self.was_silent = False
        self._limit = threading.Timer(0, lambda: None)
        ours, theirs = socket.socketpair()
        monitor = ["-chardev", f"socket,id=mon0,fd={theirs.fileno()}", "-mon", "chardev=mon0,mode=control"]
        self.process = subprocess.Popen(command + monitor, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace",
                                        pass_fds=[theirs.fileno()])
        theirs.close()
        self._qmp = Qmp(ours)
        self._ended = threading.Event()
        if wake:
            threading.Thread(target=self._keep_awake, daemon=True).start()

    def lines(self):
        with open(self.log, "w", encoding="utf-8", buffering=1) as console:
            self._wait()
            for line in self.process.stdout:
                self._wait()
                self.panicked = self.panicked or "Kernel panic" in line or "Panic on CPU" in line
                if line.startswith("LAB HOST ALIVE"):
                    continue
                console.write(line)
                yield line.rstrip()
        self._limit.cancel()
        self._ended.set()
        self.process.wait()

    def _wait(self) -> None:
        self._limit.cancel()
        self._limit = threading.Timer(SILENT_S, self._give_up)
        self._limit.daemon = True
        self._limit.start()

    def _give_up(self) -> None:
        self.was_silent = True
        self.process.kill()

    def _keep_awake(self) -> None:
        try:
            self._qmp.negotiate()
            while not self._ended.wait(WAKE_S):
                self._qmp.execute("send-key", keys=[{"type": "qcode", "data": "ctrl"}])
        except QmpClosed:
            pass  # the host has ended

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._limit.cancel()
        self._ended.set()

    def how_it_died(self) -> str:
        if self.panicked:
            return "its kernel panicked"
        if self.was_silent:
            return f"it was silent for {SILENT_S:.0f} s"
        return f"it reset by itself, or was killed (QEMU's exit code: {self.process.returncode})"
