# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU 10 and kernel 6.12 of Debian's backports: fetched into build/newer when a test first wants them."""

import subprocess

from . import paths

QEMU = str(paths.NEWER / "qemu" / "usr" / "bin" / "qemu-system-x86_64")
_CANNOT = 77


def why_not(what: str) -> str | None:
    """Fetches `what` (qemu, kernel); why it cannot be had, or None where it is there."""
    done = subprocess.run([str(paths.ROOT / "tests/newer/fetch"), str(paths.NEWER), what],
                          capture_output=True, text=True, check=False)
    if done.returncode == _CANNOT:
        return done.stdout.strip().splitlines()[-1]
    if done.returncode != 0:
        raise RuntimeError(f"tests/newer/fetch {what}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return None
