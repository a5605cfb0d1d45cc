# SPDX-License-Identifier: GPL-2.0-or-later
"""A TPM 2.0 behind QEMU's tpm-tis: swtpm beside each side, and the few commands that a test needs."""

import shutil
import subprocess
from pathlib import Path

from .qtest import QtestMachine

PROGRAM = shutil.which("swtpm")

# TCG PC Client Platform TPM Profile for TPM 2.0, 6.3: registers of locality 0.
_BASE = 0xFED40000
_ACCESS, _STS, _FIFO = _BASE, _BASE + 0x18, _BASE + 0x24
_REQUEST_USE = 0x02
_COMMAND_READY, _GO, _DATA_AVAILABLE = 0x40, 0x20, 0x10

# TPM 2.0 Library, part 3: TPM2_Startup(CLEAR), TPM2_PCR_Extend and TPM2_PCR_Read of PCR 16, SHA-256.
STARTUP = bytes.fromhex("8001 0000000c 00000144 0000")
EXTEND = bytes.fromhex("8002 00000041 00000182 00000010 00000009 40000009 0000 00 0000 00000001 000b") + b"\x5a" * 32
READ = bytes.fromhex("8001 00000014 0000017e 00000001 000b 03 000001")


class Swtpm:
    """The emulator of one side, with a state of its own; ends with QEMU's connection."""

    def __init__(self, name: str, directory: Path):
        state = directory / f"{name}.tpm"
        state.mkdir()
        self.path = directory / f"{name}.tpm.sock"
        command = [PROGRAM, "socket", "--tpm2", "--terminate", "--tpmstate", f"dir={state}", "--ctrl",
                   f"type=unixio,path={self.path}", "--daemon", "--pid", f"file={directory}/{name}.tpm.pid"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # ends when the socket is there

    def words(self) -> list[str]:
        return ["-chardev", f"socket,id=tpm-link,path={self.path}", "-tpmdev",
                "emulator,id=tpm,chardev=tpm-link", "-device", "tpm-tis,tpmdev=tpm"]


def command(machine: QtestMachine, words: bytes) -> bytes:
    """Sends it through the interface's FIFO; what the TPM answers."""
    machine.write(_ACCESS, bytes([_REQUEST_USE]))
    machine.writel(_STS, _COMMAND_READY)
    for byte in words:
        machine.write(_FIFO, bytes([byte]))
    machine.writel(_STS, _GO)
    while not machine.readl(_STS) & _DATA_AVAILABLE:  # as the interface's users have to
        pass
    header = machine.read(_FIFO, 1) + b"".join(machine.read(_FIFO, 1) for _ in range(9))
    size = int.from_bytes(header[2:6], "big")
    answer = header + b"".join(machine.read(_FIFO, 1) for _ in range(size - 10))
    machine.writel(_STS, _COMMAND_READY)
    return answer
