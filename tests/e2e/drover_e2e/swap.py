# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap space for a test: what the machine has, or a file of our own where root may add one."""

import contextlib
import os
import subprocess
from pathlib import Path

from . import paths

SIZE = 1 << 30


def _has_swap() -> bool:
    return len(Path("/proc/swaps").read_text(encoding="ascii").splitlines()) > 1


def _run(*command: str) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else f"{command[0]}: {done.stderr.strip()}"


@contextlib.contextmanager
def file_if(needed: bool):
    """Yields why there is no swap, or None where there is (or it is not needed)."""
    if not needed or _has_swap():
        yield None
        return
    if os.geteuid() != 0:
        yield "it has no swap, and only root may add some"
        return
    path = paths.BUILD / f"swapfile-{os.getpid()}"
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.posix_fallocate(file.fileno(), 0, SIZE)
    try:
        yield _run("mkswap", str(path)) or _run("swapon", str(path))
    finally:
        _run("swapoff", str(path))  # fails if it never was on, and no harm is done
        path.unlink()
