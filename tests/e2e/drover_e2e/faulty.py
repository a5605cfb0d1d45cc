# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be spoilt for a daemon: its disk and its clock."""

import struct
import subprocess
from pathlib import Path

from . import paths

_SIZE = "24m"  # a journal, a few state files, logs


class SmallDisk:
    """A file system of its own in a directory, small enough to be filled."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._filling = directory / "filling"

    @classmethod
    def mount(cls, directory: Path) -> "SmallDisk | None":
        """None: we may not mount."""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(directory)],
                              stderr=subprocess.DEVNULL, check=False)
        return cls(directory) if done.returncode == 0 else None

    def fill(self) -> None:
        with open(self._filling, "ab", buffering=0) as file:
            for size in (1 << 16, 1):  # to the last byte
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    pass

    def free(self) -> None:
        self._filling.unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self._directory)], check=False)


class Clock:
    """The clocks of one daemon (tests/e2e/clock), not of what it starts."""

    def __init__(self, file: Path):
        self._file = file
        self._file.write_bytes(struct.pack("dd", 0, 0))
        library = paths.BUILD / "tests" / "e2e" / "clock" / "libtest-clock.so"
        self.environment = {"LD_PRELOAD": str(library), "DROVER_TEST_CLOCK": str(file)}

    def move(self, seconds: float) -> None:
        """The wall clock, so far from the true time."""
        self._write(0, seconds)

    def pass_by(self, seconds: float) -> None:
        """So many seconds are over at once, by the clock that only goes forward."""
        self._write(struct.calcsize("d"), seconds)

    def _write(self, offset: int, seconds: float) -> None:
        with open(self._file, "r+b") as file:
            file.seek(offset)
            file.write(struct.pack("d", seconds))
