# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of QEMU's qtest protocol: the test is the CPU, and reads and writes the machine's ports
and memory itself."""

import functools
import socket
import subprocess
from pathlib import Path

from . import paths
from .emulator import Emulator


@functools.cache
def has_accelerator() -> bool:
    """Whether QEMU was built with "-accel qtest". Debian's is not, but its QEMU speaks the protocol
    all the same: then the machine's CPU is never started, and its clock stands still."""
    shown = subprocess.run([paths.QEMU, "-accel", "help"], capture_output=True, text=True)
    return "qtest" in shown.stdout.split()


class QtestMachine(Emulator):
    """A machine whose CPU is the test, under Drover or stock QEMU."""

    uri = ""

    def __init__(self, name: str, arguments: list[str], directory: Path,
                 emulator: str = paths.DROVER):
        path = directory / f"{name}.qtest.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(20)
        accelerator = ["-accel", "qtest"] if has_accelerator() else ["-accel", "tcg", "-S"]
        super().__init__(name, ["-nodefaults", "-no-user-config", "-display", "none", "-qtest",
                                f"unix:{path}", "-qtest-log", "none", *accelerator, *arguments],
                         directory, emulator)
        connection, _ = listener.accept()
        listener.close()
        connection.settimeout(20)
        self._lines = connection.makefile("rwb")
        self.raised: list[int] = []  # interrupt lines as they went up, after intercept()

    def command(self, text: str) -> str:
        """Sends a command; what the machine answered after OK."""
        self._lines.write(text.encode() + b"\n")
        self._lines.flush()
        while line := self._lines.readline().decode().strip():
            word, _, rest = line.partition(" ")
            if word == "OK":
                return rest
            if word == "IRQ":
                what, number = rest.split()
                if what == "raise":
                    self.raised.append(int(number))
                continue
            raise RuntimeError(f"{text}: {line}")
        raise ConnectionError(f"{text}: the machine closed the qtest connection; {self.stderr()}")

    def inb(self, port: int) -> int:
        return int(self.command(f"inb {port:#x}"), 0)

    def outb(self, port: int, value: int) -> None:
        self.command(f"outb {port:#x} {value:#x}")

    def readl(self, address: int) -> int:
        return int(self.command(f"readl {address:#x}"), 0)

    def writel(self, address: int, value: int) -> None:
        self.command(f"writel {address:#x} {value:#x}")

    def read(self, address: int, size: int) -> bytes:
        return bytes.fromhex(self.command(f"read {address:#x} {size:#x}").removeprefix("0x"))

    def write(self, address: int, data: bytes) -> None:
        self.command(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def intercept(self, device: str) -> None:
        """Reports the device's incoming interrupt lines from now on."""
        self.command(f"irq_intercept_in {device}")

    def clock_step(self, nanoseconds: int | None = None) -> None:
        """Moves the virtual clock on, or to the next timer."""
        self.command("clock_step" + (f" {nanoseconds}" if nanoseconds else ""))
